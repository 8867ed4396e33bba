//! A program that fails, with the client of Sentry for Rust in it.

/// Reports to `dsn` that a posting is missing, and dies of it.
pub fn run(dsn: &str) {
    let _guard = sentry::init(dsn);
    println!("{}", balance(&[3, 4], 2));
}

fn balance(postings: &[i64], upto: usize) -> i64 {
    (0..=upto).map(|n| posting(postings, n)).sum()
}

fn posting(postings: &[i64], n: usize) -> i64 {
    postings[n]
}
