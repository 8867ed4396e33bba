//! What happened in two weeks, fault by fault and day by day, kept in memory: reading that of a big house
//! takes most of a second, and a page has to be quicker.
//!
//! What makes keeping it right: days that are over do not change. What a page reads anew is the counts of
//! today and the faults with higher numbers than any that is known. Everything is read anew when the
//! generation has moved (rules, settings), when a known error has expired, and when there are fewer faults
//! than are known, as some were deleted or forgotten.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::page::Problem;
use super::{Web, show};
use crate::store::{EnvironmentId, FaultId, FaultOwner, ProjectId, StoreError, Tx};
use crate::triage::identity::{AddressPolicy, responsible};
use crate::triage::rules::{Code, Rule, RuleId, Rulebook};

/// A day and a week in milliseconds.
pub(super) const DAY: i64 = 24 * 3_600_000;
pub(super) const WEEK: i64 = 7 * DAY;
/// A clock that is set back by less than this confuses nobody, in milliseconds.
const SET_BACK: i64 = 3_600_000;
/// Weeks that are kept.
const KEPT: usize = 2;

/// Names and addresses of git's that one person is known by; with more, they may be anybody.
const NAMES: usize = 50;

/// What is kept.
#[derive(Default)]
pub(super) struct Almanac {
    kept: Mutex<Option<Kept>>,
    /// Makes pseudonyms, which nobody can work out from an address.
    secret: RandomState,
}

struct Kept {
    generation: i64,
    /// When a known error expires, in milliseconds since 1970 UTC.
    until: i64,
    roster: Roster,
    /// Those asked for last first.
    weeks: Vec<Fortnight>,
}

/// Whose every fault is, by the rules as they are.
#[derive(Default)]
pub(super) struct Roster {
    pub(super) faults: Vec<Entry>,
    pub(super) people: Vec<Person>,
    places: HashMap<FaultId, u32>,
    by_address: HashMap<String, u32>,
    newest: FaultId,
}

/// A fault, as far as its week needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: FaultId,
    pub(super) project: ProjectId,
    /// Whoever answers for it, in the list of people.
    pub(super) person: usize,
    /// The known error that it is.
    pub(super) known: Option<RuleId>,
    /// Whether its line was last changed before the cutoff.
    pub(super) old: bool,
    /// In milliseconds since 1970 UTC.
    pub(super) first_seen: i64,
}

/// Somebody who answers for faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    /// Where their mail goes; empty: nobody.
    pub(super) address: String,
    /// As git names them; empty: it does not, or under another address.
    pub(super) name: String,
    /// What they are called where names are not shown.
    pub(super) pseudonym: String,
    /// The names and addresses that git has for them, in lower case.
    also: Vec<String>,
}

impl Roster {
    /// A fault.
    pub(super) fn fault(&self, id: FaultId) -> Option<&Entry> {
        self.places.get(&id).map(|&at| &self.faults[at as usize])
    }
}

impl Person {
    /// Whether `part` (in lower case) may be a part of what they are called, here or by git.
    pub(super) fn may_be(&self, part: &str) -> bool {
        self.also.len() >= NAMES
            || self.also.iter().any(|text| text.contains(part))
            || self.address.to_lowercase().contains(part)
    }
}

/// How often a fault occurred on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DayOf {
    pub(super) count: u64,
    /// Where it stands in the roster.
    pub(super) fault: u32,
    environment: u16,
    /// 0 to 6: the week before; 7 to 13: the week.
    pub(super) day: u8,
}

impl DayOf {
    pub(super) fn is_in(&self, environment: EnvironmentId) -> bool {
        i64::from(self.environment) == environment.0
    }
}

/// A week and the one before it.
struct Fortnight {
    start: i64,
    /// The start of the first day that may still change.
    settled: i64,
    /// Day by day.
    days: Vec<DayOf>,
}

impl Web {
    /// Has `work` see whose every fault is.
    pub(super) async fn roster<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>, &Rulebook, &Roster) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.almanac(None, |tx, book, roster, _| work(tx, book, roster)).await
    }

    /// Has `work` see the two weeks up to the end of the one that begins at `start`, as they are now.
    pub(super) async fn fortnight<T: Send + 'static>(
        &self,
        start: i64,
        work: impl FnOnce(&Tx<'_>, &Rulebook, &Roster, &[DayOf]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.almanac(Some(start), work).await
    }

    async fn almanac<T: Send + 'static>(
        &self,
        start: Option<i64>,
        work: impl FnOnce(&Tx<'_>, &Rulebook, &Roster, &[DayOf]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let web = self.clone();
        self.read(move |tx| {
            let almanac = &web.0.almanac;
            // Taken before anything is read, so that what is kept never becomes older than it was.
            let mut kept = almanac.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let (book, now) = (tx.rulebook()?, web.0.clock.now());
            let reader = Reader { book: &book, addresses: &web.0.settings.addresses, now, almanac };
            let current = kept.take().filter(|kept| kept.is_good(&book, now));
            let mut current = current.unwrap_or_else(|| Kept::nothing(&book, now));
            reader.enter_new_faults(tx, &mut current.roster)?;
            if tx.count_faults()? != current.roster.faults.len() {
                current = Kept::nothing(&book, now);
                reader.enter_new_faults(tx, &mut current.roster)?;
            }
            if let Some(start) = start {
                current.open(tx, start, now.as_millisecond())?;
            }
            // What failed half-way is not put back.
            let Kept { roster, weeks, .. } = kept.insert(current);
            work(tx, &book, roster, start.map_or(&[], |_| &weeks[0].days))
        })
        .await
    }
}

/// When the first of the known errors that hold at `now` ends.
fn next_end(book: &Rulebook, now: Timestamp) -> i64 {
    let ends = book.rules.iter().filter_map(|(_, rule)| match rule {
        Rule::KnownError(known) => known.expires_at.filter(|end| *end > now),
        _ => None,
    });
    ends.min().map_or(i64::MAX, Timestamp::as_millisecond)
}

impl Kept {
    fn nothing(book: &Rulebook, now: Timestamp) -> Self {
        let (generation, until) = (book.generation, next_end(book, now));
        Self { generation, until, roster: Roster::default(), weeks: Vec::new() }
    }

    fn is_good(&self, book: &Rulebook, now: Timestamp) -> bool {
        self.generation == book.generation && now.as_millisecond() < self.until
    }

    /// Brings the week that begins at `start` up to date, and puts it first.
    fn open(&mut self, tx: &Tx<'_>, start: i64, now: i64) -> Result<(), StoreError> {
        let at = self.weeks.iter().position(|week| week.start == start);
        let mut week =
            at.map_or(Fortnight { start, settled: i64::MIN, days: Vec::new() }, |at| self.weeks.remove(at));
        let from = week.settled.max(start - WEEK);
        let day = |at: i64| u8::try_from((at - (start - WEEK)) / DAY).unwrap_or(u8::MAX);
        while week.days.last().is_some_and(|last| last.day >= day(from)) {
            week.days.pop();
        }
        let roster = &self.roster;
        tx.day_counts(from, start + WEEK, |counted| {
            week.days.extend(roster.places.get(&counted.fault).map(|&fault| DayOf {
                count: counted.count,
                fault,
                environment: u16::try_from(counted.environment.0).unwrap_or(u16::MAX),
                day: day(counted.day),
            }));
        })?;
        week.settled = (now - SET_BACK).div_euclid(DAY) * DAY;
        self.weeks.insert(0, week);
        self.weeks.truncate(KEPT);
        Ok(())
    }
}

/// Reads whose faults are.
struct Reader<'a> {
    book: &'a Rulebook,
    addresses: &'a AddressPolicy,
    now: Timestamp,
    almanac: &'a Almanac,
}

impl Reader<'_> {
    fn enter_new_faults(&self, tx: &Tx<'_>, roster: &mut Roster) -> Result<(), StoreError> {
        let has_path = self.book.rules.iter().any(|(_, rule)| matches!(rule, Rule::Disown { .. }));
        // Where no path is disowned, an address of git's is always the same person's.
        let mut known_people: HashMap<[String; 2], u32> = HashMap::new();
        let newest = roster.newest;
        tx.fault_owners(newest, |fault| {
            let git = [&fault.author_mail, &fault.author_name].map(|text| text.clone().unwrap_or_default());
            let person = match known_people.get(&git).filter(|_| !has_path) {
                Some(&person) => person,
                None => {
                    let person = self.person(&fault, roster);
                    known_people.insert(git, person);
                    person
                }
            };
            let cutoff = self.book.settings.cutoff.map(Timestamp::as_millisecond);
            let place = u32::try_from(roster.faults.len()).unwrap_or(u32::MAX);
            roster.places.insert(fault.id, place);
            roster.newest = roster.newest.max(fault.id);
            roster.faults.push(Entry {
                id: fault.id,
                project: fault.project,
                person: person as usize,
                known: self.known_error(tx, &fault)?,
                old: cutoff.zip(fault.author_time).is_some_and(|(cutoff, changed)| changed < cutoff),
                first_seen: fault.first_seen,
            });
            Ok(())
        })
    }

    /// Whoever answers for a fault, in the list of people.
    fn person(&self, fault: &FaultOwner, roster: &mut Roster) -> u32 {
        let path = fault.path.as_ref().map(ToString::to_string).unwrap_or_default();
        let git = fault.author_mail.as_deref();
        let person = git.and_then(|mail| responsible(mail, &path, self.book, self.addresses).ok());
        let address = person.map(|person| person.address).unwrap_or_default();
        let key = address.to_ascii_lowercase();
        let at = *roster.by_address.entry(key).or_insert_with_key(|key| {
            let pseudonym = self.almanac.pseudonym(key);
            roster.people.push(Person { address: address.clone(), pseudonym, ..Person::default() });
            u32::try_from(roster.people.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut roster.people[at as usize];
        // Git's name is theirs only where the address is git's, too.
        if entry.name.is_empty() && git.is_some_and(|mail| mail.eq_ignore_ascii_case(&address)) {
            entry.name = show::name(fault.author_name.as_deref());
        }
        for text in [&fault.author_mail, &fault.author_name].into_iter().flatten() {
            let text = text.to_lowercase();
            if entry.also.len() < NAMES && !entry.also.contains(&text) {
                entry.also.push(text);
            }
        }
        at
    }

    fn known_error(&self, tx: &Tx<'_>, fault: &FaultOwner) -> Result<Option<RuleId>, StoreError> {
        let Some(path) = &fault.path else { return Ok(None) };
        let in_file = |rule: &Rule| match rule {
            Rule::KnownError(known) => path == known.code.filename.as_bytes(),
            _ => false,
        };
        if !self.book.rules.iter().any(|(_, rule)| in_file(rule)) {
            return Ok(None);
        }
        let (path, code) = (path.to_string(), tx.fault_code(fault.id)?);
        let code = Code { file: &path, function: fault.function.as_deref(), text: code.as_deref() };
        Ok(self.book.known_error(code, self.now).map(|(id, _)| id))
    }
}

impl Almanac {
    /// The same for the same address for as long as the daemon runs.
    fn pseudonym(&self, address: &str) -> String {
        let mut rest = self.secret.hash_one(address);
        let letter = |_| {
            let letter = char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0));
            rest /= 26;
            letter
        };
        (0..6).map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::store::{NewFault, Store, Whereabouts};
    use crate::web::SignIn;

    fn web(store: &Store, clock: &Clock) -> Web {
        crate::web::tests::web(store, clock, SignIn::Off, "http://127.0.0.1:9029")
    }

    /// A fault in a week: who answers for it, whether it is known, and its count on each of fourteen days.
    type Seen = HashMap<FaultId, (String, Option<RuleId>, [u64; 14])>;

    async fn seen(web: &Web, start: i64) -> Seen {
        let seen = web.fortnight(start, |_, _, roster, days| {
            let mut seen = Seen::new();
            for day in days {
                let fault = roster.faults[day.fault as usize];
                let address = roster.people[fault.person].address.clone();
                seen.entry(fault.id).or_insert((address, fault.known, [0; 14])).2[usize::from(day.day)] +=
                    day.count;
            }
            Ok(seen)
        });
        seen.await.unwrap()
    }

    fn known(filename: &str, until: Timestamp) -> Rule {
        let rule = serde_json::json!({ "kind": "known_error", "filename": filename, "expires_at": until });
        serde_json::from_value(rule).unwrap()
    }

    /// Whatever happens between two looks, who has looked before sees what somebody sees who never has.
    #[tokio::test]
    async fn what_is_kept_is_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let clock = Clock::fixed("2026-11-13T20:00:00Z".parse().unwrap());
        let old = web(&store, &clock);
        let weeks = ["2026-11-08T00:00:00Z", "2026-11-15T00:00:00Z"]
            .map(|at| at.parse::<Timestamp>().unwrap().as_millisecond());
        let mut chance = 1_u64;
        let mut below = move |end: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % end
        };
        let mut looked = 0;
        for step in 0..120 {
            clock.advance(Duration::from_secs(60 * below(150)));
            let now = clock.now();
            let (what, file, mail) = (below(12), below(4), format!("dev{}@example.org", below(3)));
            let until = now + jiff::SignedDuration::from_hours(20);
            let done = store.write(|tx| {
                let project = tx.ensure_project("shop", 0)?;
                let place = crate::blame::Place {
                    repository: "shop".into(),
                    revision: crate::blame::CommitId("0".repeat(40)),
                    path: format!("file{file}.py").into(),
                    line: 1.try_into().unwrap(),
                };
                match what {
                    0 => drop(tx.add_rule(&known(&format!("file{file}.py"), until), "me", 0)?),
                    1 => drop(tx.remove_fault(FaultId(i64::try_from(below(9)).unwrap()))?),
                    2 => {
                        let rule = Rule::Remap { from: mail.clone(), to: "eve@example.org".into() };
                        tx.add_rule(&rule, "me", 0)?;
                    }
                    _ => {
                        let identity = format!("{file} {mail}");
                        let blame = blame_of(&mail, &place);
                        let new = NewFault {
                            identity: &identity,
                            place: Some(&place),
                            function: None,
                            code: None,
                            blame: Some(&blame),
                            blame_failure: None,
                            exception_type: None,
                            exception_message: None,
                            first_seen: now.as_millisecond(),
                        };
                        let id = tx.ensure_fault(project, new)?;
                        tx.count_fault(id, Whereabouts::default(), 1 + below(5), now.as_millisecond())?;
                    }
                }
                Ok::<_, StoreError>(())
            });
            done.unwrap();
            for start in weeks {
                let kept = seen(&old, start).await;
                looked += kept.len();
                assert_eq!(kept, seen(&web(&store, &clock), start).await, "step {step}");
            }
        }
        assert!(looked > 500, "{looked}");
    }

    fn blame_of(mail: &str, place: &crate::blame::Place) -> crate::blame::Blame {
        let place = serde_json::to_value(place).unwrap();
        let blame = serde_json::json!({
            "place": place, "summary": "s", "boundary": false, "source": [],
            "origin": { "commit": "0".repeat(40), "path": "a.py", "line": 1 },
            "author": { "name": "Dev", "mail": mail, "time": "2026-11-01T00:00:00Z" },
            "confidence": { "level": "high", "why": "w" },
        });
        serde_json::from_value(blame).unwrap()
    }
}
