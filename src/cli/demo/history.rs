//! The demo's repository: a small web shop by three people, with a merge, a rename and a reformatting.

use std::path::Path;

use git2::{Commit, IndexEntry, IndexTime, Oid, Repository, Signature, Time};

/// Somebody who commits.
#[derive(Clone, Copy)]
struct Person(&'static str, &'static str);

const ANA: Person = Person("Ana Lima", "ana@shop.example");
const BEN: Person = Person("Ben Adler", "ben@shop.example");
const CHIKA: Person = Person("Chika Obi", "chika@shop.example");

/// The first commit's time: 2026-03-02 09:00 UTC. Each further one is a week later.
const BEGIN: i64 = 1_772_442_000;
const WEEK: i64 = 7 * 24 * 3600;

const TAX: &str = r#"def with_tax(price, rate=20):
  return price * (100 + rate) / 100
"#;

const CART: &str = r#"from shop.tax import with_tax


def total(items):
  amount = 0
  for item in items:
    amount += with_tax(item["price"]) * item["count"]
  return amount
"#;

const DISCOUNT: &str = r#"

CODES = {"WELCOME": 10, "FRIEND": 15}


def discounted(items, code):
  percent = CODES[code]
  return total(items) * (100 - percent) / 100
"#;

const STOCK: &str = r#"import json


class StockError(Exception):
    pass


def load(text):
    return json.loads(text)


def reserve(stock, name, count):
    left = stock[name] - count
    if left < 0:
        raise StockError(f"only {stock[name]} of {name} left")
    stock[name] = left
    return left
"#;

const ORDER: &str = r#"import sys

from shop import cart, stock

SHELF = {"tea": 3}


class OrderError(Exception):
    pass


def place(order):
    try:
        for item in order["items"]:
            stock.reserve(SHELF, item["name"], item["count"])
    except stock.StockError as error:
        raise OrderError(f"order {order['id']} cannot be filled") from error
    return cart.discounted(order["items"], order["code"])


def main(what):
    tea = {"name": "tea", "price": 4.5, "count": 1}
    if what == "code":
        place({"id": 1001, "items": [tea], "code": "FREIND"})
    elif what == "price":
        place({"id": 1002, "items": [{**tea, "price": "4.5"}], "code": "FRIEND"})
    elif what == "stock":
        place({"id": 1003, "items": [{**tea, "count": 40}], "code": "FRIEND"})
    elif what == "feed":
        SHELF.update(stock.load("{tea: 12}"))


if __name__ == "__main__":
    main(sys.argv[1])
"#;

/// Makes the repository in the empty folder `at`; answers the commit that "last month's release" is of.
///
/// # Errors
/// What libgit2 says.
pub(super) fn make(at: &Path) -> Result<Oid, git2::Error> {
    let mut options = git2::RepositoryInitOptions::new();
    let mut shop = Shop { git: Repository::init_opts(at, options.initial_head("main"))?, week: 0 };
    let cart = format!("{CART}{DISCOUNT}");
    let imports = |text: &str| text.replace("shop.tax", "shop.vat");
    // Two spaces become four, as a formatter does it.
    let reformatted = |text: &str| {
        let line = |line: &str| {
            let text = line.trim_start_matches(' ');
            " ".repeat(2 * (line.len() - text.len())) + text
        };
        text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
    };

    let first: &[(&str, &str)] = &[("shop/__init__.py", ""), ("shop/tax.py", TAX), ("shop/cart.py", CART)];
    let begin = shop.commit(ANA, "A cart, and taxes on it", &[], first, &[])?;
    let codes = shop.commit(BEN, "Discount codes", &[begin], &[("shop/cart.py", &cart)], &[])?;
    let stock = shop.commit(CHIKA, "Stock, and a feed for it", &[begin], &[("shop/stock.py", STOCK)], &[])?;
    let both: &[(&str, &str)] = &[("shop/cart.py", &cart), ("shop/stock.py", STOCK)];
    let merged = shop.commit(ANA, "Merge the discount codes", &[stock, codes], both, &[])?;
    let order = shop.commit(ANA, "Place orders", &[merged], &[("order.py", ORDER)], &[])?;
    let moved: &[(&str, &str)] = &[("shop/vat.py", TAX), ("shop/cart.py", &imports(&cart))];
    let renamed = shop.commit(BEN, "It is a value added tax", &[order], moved, &["shop/tax.py"])?;
    let (cart, vat) = (reformatted(&imports(&cart)), reformatted(TAX));
    let spaced: &[(&str, &str)] = &[("shop/cart.py", &cart), ("shop/vat.py", &vat)];
    let formatted = shop.commit(CHIKA, "Indent by four spaces everywhere", &[renamed], spaced, &[])?;
    let ignored = format!("# Indent by four spaces everywhere\n{formatted}\n");
    let last: &[(&str, &str)] = &[(".git-blame-ignore-revs", &ignored)];
    let head = shop.commit(CHIKA, "Nobody wrote a line by indenting it", &[formatted], last, &[])?;
    shop.git.reference("refs/heads/main", head, true, "demo")?;
    Ok(renamed)
}

struct Shop {
    git: Repository,
    week: i64,
}

impl Shop {
    /// Commits the first parent's tree with some files written and some removed.
    fn commit(
        &mut self,
        person: Person,
        message: &str,
        parents: &[Oid],
        write: &[(&str, &str)],
        remove: &[&str],
    ) -> Result<Oid, git2::Error> {
        let git = &self.git;
        let mut index = git2::Index::new()?;
        let parents: Vec<Commit<'_>> =
            parents.iter().map(|parent| git.find_commit(*parent)).collect::<Result<_, _>>()?;
        if let Some(first) = parents.first() {
            index.read_tree(&first.tree()?)?;
        }
        for (path, text) in write {
            index.add(&IndexEntry {
                ctime: IndexTime::new(0, 0),
                mtime: IndexTime::new(0, 0),
                dev: 0,
                ino: 0,
                mode: 0o100_644,
                uid: 0,
                gid: 0,
                file_size: 0,
                id: git.blob(text.as_bytes())?,
                flags: 0,
                flags_extended: 0,
                path: path.as_bytes().to_vec(),
            })?;
        }
        for path in remove {
            index.remove(Path::new(path), 0)?;
        }
        let tree = git.find_tree(index.write_tree_to(git)?)?;
        let when = Time::new(BEGIN + self.week * WEEK, 0);
        self.week += 1;
        let signature = Signature::new(person.0, person.1, &when)?;
        git.commit(None, &signature, &signature, message, &tree, &parents.iter().collect::<Vec<_>>())
    }
}
