//! What Python's `pickle` has written, read as plain data: no class is looked up, and nothing is called.
//!
//! An object becomes its attributes. Protocols 0 to 5 as far as objects of lists, texts and numbers need them
//! (Python, `Lib/pickletools.py`). Values are kept in one list and named by their place in it, for pickles
//! share and change what they have already named. What is kept grows with the file, and what is made of it has
//! limits, so that no file takes more memory than its length is worth.
//!
//! The road not taken: serde-pickle follows values as deep as the file nests them, passes over calls without a word,
//! and gives up a whole file for one text of Python 2 that is no UTF-8.

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const DEPTH: usize = 50;
/// Values and bytes of texts that may be made, those that are named twice counted twice.
const MOST: usize = 64 << 20;

/// Why a file is none that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {what}")]
pub(super) struct Unreadable {
    /// Where, from 0.
    at: usize,
    what: String,
}

enum Node {
    Plain(Value),
    List(Vec<usize>),
    Pairs(Vec<(usize, usize)>),
    /// A class or a function, by name.
    Global(String),
    /// Something of a class; its attributes, once they are known.
    Object(Option<usize>),
}

#[derive(Default)]
struct Reader<'a> {
    bytes: &'a [u8],
    /// Where the next operation begins.
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

/// Reads a pickle.
///
/// # Errors
/// What cannot be read in it, and where.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Unreadable> {
    let mut reader = Reader { bytes, ..Reader::default() };
    loop {
        let at = reader.at;
        let wrong = |what| Unreadable { at, what };
        if !reader.step().map_err(wrong)? {
            let top = reader.pop().map_err(wrong)?;
            return reader.plain(top, 0, &mut MOST.to_owned()).map_err(wrong);
        }
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes[self.at..].get(..count).ok_or("the file ends in the middle of a value")?;
        self.at += count;
        Ok(taken)
    }

    /// A number of `count` bytes, the least first.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        Ok(self.take(count)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// As many bytes as the number of `width` bytes before them says.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = usize::try_from(self.number(width)?).map_err(|_| "a length is too large")?;
        self.take(count)
    }

    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let end =
            rest.iter().position(|byte| *byte == b'\n').ok_or("the file ends in the middle of a value")?;
        Ok(&self.take(end + 1)?[..end])
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn push(&mut self, node: Node) {
        let at = self.add(node);
        self.stack.push(at);
    }

    fn push_text(&mut self, bytes: &[u8]) {
        self.push(Node::Plain(Value::String(String::from_utf8_lossy(bytes).into_owned())));
    }

    fn push_number(&mut self, number: impl Into<Number>) {
        self.push(Node::Plain(Value::Number(number.into())));
    }

    fn pop(&mut self) -> Result<usize, String> {
        self.stack.pop().ok_or_else(|| "there is no value where one is needed".to_owned())
    }

    fn top(&self) -> Result<usize, String> {
        self.stack.last().copied().ok_or_else(|| "there is no value where one is needed".to_owned())
    }

    /// Everything since the last mark.
    fn marked(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn extend_list(&mut self, items: Vec<usize>) -> Result<(), String> {
        let at = self.top()?;
        match &mut self.nodes[at] {
            Node::List(list) => list.extend(items),
            _ => return Err("items are added to what is no list".to_owned()),
        }
        Ok(())
    }

    fn extend_pairs(&mut self, items: &[usize]) -> Result<(), String> {
        let at = self.top()?;
        match &mut self.nodes[at] {
            Node::Pairs(pairs) => pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            _ => return Err("keys are set in what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn tuple(&mut self, count: usize) -> Result<(), String> {
        let start = self.stack.len().checked_sub(count).ok_or("there is no value where one is needed")?;
        let items = self.stack.split_off(start);
        self.push(Node::List(items));
        Ok(())
    }

    /// A function is to be called with a list of arguments: what comes of it, for the few that only make a value.
    fn call(&mut self, function: usize, arguments: usize) -> Result<(), String> {
        let first = match &self.nodes[arguments] {
            Node::List(list) => list.first().copied(),
            _ => None,
        };
        let name = match &self.nodes[function] {
            Node::Global(name) => name.as_str(),
            _ => "what is no function",
        };
        let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
        match (module, last, first) {
            ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple", Some(first))
            | ("_codecs", "encode", Some(first)) => self.stack.push(first),
            ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple", None) => {
                self.push(Node::List(Vec::new()));
            }
            ("builtins" | "__builtin__", "dict", _) | ("collections", "OrderedDict" | "defaultdict", _) => {
                self.push(Node::Pairs(Vec::new()));
            }
            // How protocols 0 and 1 make an object of a class.
            ("copy_reg" | "copyreg", "_reconstructor", _) => self.push(Node::Object(None)),
            _ => {
                return Err(format!(
                    "it has {name:?} called, which no list of Flawless does; nothing was run"
                ));
            }
        }
        Ok(())
    }

    fn remember(&mut self, name: u64) -> Result<(), String> {
        let at = self.top()?;
        self.memo.insert(name, at);
        Ok(())
    }

    fn recall(&mut self, name: u64) -> Result<(), String> {
        let at = *self.memo.get(&name).ok_or("it names a value that is not there")?;
        self.stack.push(at);
        Ok(())
    }

    /// One operation. False: it was the last.
    fn step(&mut self) -> Result<bool, String> {
        match self.take(1)?[0] {
            b'.' => return Ok(false),
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => drop(self.marked()?),
            b'2' => self.stack.push(self.top()?),

            b'N' => self.push(Node::Plain(Value::Null)),
            0x88 => self.push(Node::Plain(true.into())),
            0x89 => self.push(Node::Plain(false.into())),
            b'I' => match self.line()? {
                b"00" => self.push(Node::Plain(false.into())),
                b"01" => self.push(Node::Plain(true.into())),
                number => {
                    let number = written_number(number)?;
                    self.push_number(number);
                }
            },
            b'L' => {
                let line = self.line()?;
                let number = written_number(line.strip_suffix(b"L").unwrap_or(line))?;
                self.push_number(number);
            }
            b'J' => {
                let number = u32::try_from(self.number(4)?).expect("it has four bytes");
                self.push_number(number.cast_signed());
            }
            b'K' => {
                let number = self.number(1)?;
                self.push_number(number);
            }
            b'M' => {
                let number = self.number(2)?;
                self.push_number(number);
            }
            0x8a => {
                let bytes = self.counted(1)?;
                self.push_number(wide_number(bytes));
            }
            0x8b => {
                let bytes = self.counted(4)?;
                self.push_number(wide_number(bytes));
            }
            b'F' => {
                let line = String::from_utf8_lossy(self.line()?);
                let number: f64 = line.parse().map_err(|_| "a number is none")?;
                self.push(Node::Plain(number.into()));
            }
            b'G' => {
                let bytes = self.take(8)?.try_into().expect("it has eight bytes");
                self.push(Node::Plain(f64::from_be_bytes(bytes).into()));
            }

            b'S' => {
                let line = self.line()?;
                let text = line.get(1..line.len().saturating_sub(1)).ok_or("a text is without quotes")?;
                self.push_text(&unescaped(text, b"\\'\"nrtx"));
            }
            b'V' => {
                // What is not escaped is Latin-1.
                let line: String = self.line()?.iter().copied().map(char::from).collect();
                self.push_text(&unescaped(line.as_bytes(), b"uU"));
            }
            b'U' | b'C' | 0x8c => {
                let text = self.counted(1)?;
                self.push_text(text);
            }
            b'T' | b'B' | b'X' => {
                let text = self.counted(4)?;
                self.push_text(text);
            }
            0x8d | 0x8e | 0x96 => {
                let text = self.counted(8)?;
                self.push_text(text);
            }

            b']' | b')' | 0x8f => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Pairs(Vec::new())),
            b'l' | b't' | 0x91 => {
                let items = self.marked()?;
                self.push(Node::List(items));
            }
            b'd' => {
                let items = self.marked()?;
                self.push(Node::Pairs(Vec::new()));
                self.extend_pairs(&items)?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.marked()?;
                self.extend_list(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend_pairs(&[key, value])?;
            }
            b'u' => {
                let items = self.marked()?;
                self.extend_pairs(&items)?;
            }

            b'p' => {
                let name = memo_name(self.line()?)?;
                self.remember(name)?;
            }
            b'q' => {
                let name = self.number(1)?;
                self.remember(name)?;
            }
            b'r' => {
                let name = self.number(4)?;
                self.remember(name)?;
            }
            0x94 => {
                let name = u64::try_from(self.memo.len()).expect("a file has fewer");
                self.remember(name)?;
            }
            b'g' => {
                let name = memo_name(self.line()?)?;
                self.recall(name)?;
            }
            b'h' => {
                let name = self.number(1)?;
                self.recall(name)?;
            }
            b'j' => {
                let name = self.number(4)?;
                self.recall(name)?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_global(&String::from_utf8_lossy(module), &String::from_utf8_lossy(name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (module, name) = (self.text(module).to_owned(), self.text(name).to_owned());
                self.push_global(&module, &name);
            }
            b'i' => {
                self.line()?;
                self.line()?;
                self.marked()?;
                self.push(Node::Object(None));
            }
            b'o' => {
                self.marked()?;
                self.push(Node::Object(None));
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?;
            }
            0x81 => {
                self.pop()?;
                self.pop()?;
                self.push(Node::Object(None));
            }
            0x92 => {
                self.pop()?;
                self.pop()?;
                self.pop()?;
                self.push(Node::Object(None));
            }
            b'b' => {
                let (state, at) = (self.pop()?, self.top()?);
                if let Node::Object(attributes) = &mut self.nodes[at] {
                    *attributes = Some(state);
                }
            }
            other => return Err(format!("operation {other:#04x} is none that a list of Flawless has")),
        }
        Ok(true)
    }

    fn push_global(&mut self, module: &str, name: &str) {
        self.push(Node::Global(format!("{module}.{name}")));
    }

    fn text(&self, at: usize) -> &str {
        match &self.nodes[at] {
            Node::Plain(Value::String(text)) => text,
            _ => "",
        }
    }

    fn plain(&self, at: usize, depth: usize, left: &mut usize) -> Result<Value, String> {
        let cost = 1 + self.text(at).len();
        *left = left
            .checked_sub(cost)
            .ok_or("it names the same values again and again, and comes to too much")?;
        if depth > DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        Ok(match &self.nodes[at] {
            Node::Plain(value) => value.clone(),
            Node::Global(name) => Value::String(name.clone()),
            Node::List(items) => Value::Array(
                items.iter().map(|item| self.plain(*item, depth + 1, left)).collect::<Result<_, _>>()?,
            ),
            Node::Pairs(pairs) => {
                let mut map = Map::new();
                for (key, value) in pairs {
                    let key = match self.plain(*key, depth + 1, left)? {
                        Value::String(key) => key,
                        other => other.to_string(),
                    };
                    map.insert(key, self.plain(*value, depth + 1, left)?);
                }
                Value::Object(map)
            }
            Node::Object(None) => Value::Object(Map::new()),
            Node::Object(Some(state)) => self.plain(*state, depth + 1, left)?,
        })
    }
}

fn memo_name(line: &[u8]) -> Result<u64, String> {
    String::from_utf8_lossy(line).parse().map_err(|_| "the name of a value is no number".to_owned())
}

/// A number in digits; one that is larger than any count is the largest.
fn written_number(digits: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(digits);
    let plain = text.strip_prefix('-').unwrap_or(&text);
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a number is none".to_owned());
    }
    let most = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Ok(text.parse().unwrap_or(most))
}

/// A number in bytes, the least first, as two's complement; one that is larger than any count is the largest.
fn wide_number(bytes: &[u8]) -> i64 {
    let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let filled = if is_negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut wide = [filled; 8];
    wide[..low.len()].copy_from_slice(low);
    let number = i64::from_le_bytes(wide);
    match high.iter().all(|byte| *byte == filled) && number.is_negative() == is_negative {
        true => number,
        false if is_negative => i64::MIN,
        false => i64::MAX,
    }
}

/// Undoes those escapes of Python's that begin with one of `known`; what stands between them is as it was.
fn unescaped(text: &[u8], known: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        let Some(escape) = after.first().filter(|next| *first == b'\\' && known.contains(next)) else {
            out.push(*first);
            continue;
        };
        let digits = match escape {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            _ => 0,
        };
        let number = after.get(1..=digits).and_then(|digits| std::str::from_utf8(digits).ok());
        match (escape, number.and_then(|digits| u32::from_str_radix(digits, 16).ok())) {
            (b'n', _) => out.push(b'\n'),
            (b'r', _) => out.push(b'\r'),
            (b't', _) => out.push(b'\t'),
            // A byte of a text of Python 2.
            (b'x', Some(byte)) => out.push(byte.to_le_bytes()[0]),
            (b'u' | b'U', Some(number)) => {
                let c = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            (b'x' | b'u' | b'U', None) => {
                out.push(*first);
                continue;
            }
            (plain, _) => out.push(*plain),
        }
        rest = &after[1 + digits..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn values_are_read_as_python_wrote_them() {
        let check = |bytes: &[u8], expected: Value| assert_eq!(read(bytes).unwrap(), expected, "{bytes:?}");
        // Python 3.11, protocol 5, and Python 2.7, protocols 0 to 2, of {"a": [1, -1, 300, None, True, 2.5]}.
        let expected = json!({"a": [1, -1, 300, null, true, 2.5]});
        check(
            b"\x80\x05\x95\x21\0\0\0\0\0\0\0}\x94\x8c\x01a\x94]\x94(K\x01J\xff\xff\xff\xffM,\x01N\x88G@\x04\0\0\0\0\0\0es.",
            expected.clone(),
        );
        check(
            b"\x80\x02}q\x01U\x01a]q\x02(K\x01J\xff\xff\xff\xffM,\x01N\x88G@\x04\0\0\0\0\0\0es.",
            expected.clone(),
        );
        check(b"(dp1\nS'a'\n(lp2\nI1\naI-1\naI300\naNaI01\naF2.5\nas.", expected);
        let expected = json!(["it's ü\nA", "ü😀 \\d"]);
        check(b"(lp1\nS\"it's \\xc3\\xbc\\nA\"\np2\naV\xfc\\U0001f600 \\u005cd\np3\na.", expected.clone());
        check(b"(lp1\nS'it\\'s \\xc3\\xbc\\n\\x41'\np2\naV\\u00fc\\U0001f600 \\d\np3\na.", expected);
        // Numbers that nobody counts to.
        check(b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01.", json!(i64::MAX));
        check(b"\x80\x02\x8a\x08\0\0\0\0\0\0\0\x80.", json!(i64::MIN));
        check(b"\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0.", json!(i64::MAX));
        check(b"L-99999999999999999999L\n.", json!(i64::MIN));
        // Objects are their attributes: of protocol 2, and of 0.
        check(b"\x80\x02cm\nC\n)\x81}U\x01xK\x01sb.", json!({"x": 1}));
        check(
            b"ccopy_reg\n_reconstructor\n(cm\nC\nc__builtin__\nobject\nNtR(dS'x'\nI1\nsb.",
            json!({"x": 1}),
        );
        check(b"\x80\x02c__builtin__\nset\nq\x01]q\x02K\x01a\x85Rq\x03.", json!([1]));
    }

    #[test]
    fn nothing_is_run_and_what_is_wrong_has_a_place() {
        let told = wrong(b"cos\nsystem\n(S'touch /tmp/x'\ntR.");
        assert_eq!(
            told,
            "at byte 29: it has \"os.system\" called, which no list of Flawless does; nothing was run"
        );
        assert_eq!(wrong(b"\x80\x02K"), "at byte 2: the file ends in the middle of a value");
        assert_eq!(wrong(b""), "at byte 0: the file ends in the middle of a value");
        assert_eq!(wrong(b"."), "at byte 0: there is no value where one is needed");
        assert_eq!(wrong(b"]Pid\n."), "at byte 1: operation 0x50 is none that a list of Flawless has");
        assert!(wrong(b"X\xff\xff\xff\xff").contains("ends in the middle"));
    }

    #[test]
    fn no_file_takes_more_than_its_length_is_worth() {
        // A list that holds itself, one in another a million times, and one that doubles with each line.
        assert!(wrong(b"\x80\x02]q\x00h\x00a.").contains("too deeply"));
        let deep = [vec![b']'; 1_000_000], vec![b'a'; 999_999], vec![b'.']].concat();
        assert!(wrong(&deep).contains("too deeply"));
        let mut laughs = b"\x80\x02U\x03ha!q\x00".to_vec();
        for name in 0..40u8 {
            laughs.extend([b']', b'(', b'h', name, b'h', name, b'e', b'q', name + 1]);
        }
        laughs.push(b'.');
        assert!(wrong(&laughs).contains("again and again"));
    }

    #[test]
    fn nothing_in_a_file_makes_it_panic() {
        let whole: &[u8] =
            b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xff\xff\xff\xff\x88NeX\x01\x00\x00\x00bh\x01S'\\x41\\1'\nV\\u0041\nL12L\ncm\nC\n)\x81}b\x8a\x02\x01\x02u.";
        read(whole).unwrap();
        for end in 0..whole.len() {
            read(&whole[..end]).unwrap_err();
            for byte in 0..=u8::MAX {
                let mut bent = whole.to_vec();
                bent[end] = byte;
                let _ = read(&bent);
            }
        }
    }
}
