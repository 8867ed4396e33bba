//! `blamed demo`: a small repository, a daemon on it, and real tracebacks.

mod history;

use serde_json::{Value, json};

use super::client::{Address, Client, Letter, REPORTS};
use super::daemon::Daemon;
use super::start::Signals;
use super::{Failure, house, print_line, report};
use crate::clock::Clock;
use crate::config::Config;
use crate::notify::compose;
use crate::store::StoreError;
use crate::telemetry;
use crate::web::SignIn;

/// See it work: a small repository, real tracebacks, the mails they lead to.
///
/// Makes a repository with a history by three people in a temporary folder, starts a daemon on it, sends it
/// tracebacks in several shapes, and shows for each the line found, the person, and the mail. Then it stays
/// up for you to try; Ctrl-C ends it and removes everything.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// End after the mails instead of staying up
    #[arg(long)]
    once: bool,
}

/// One scene: what it shows, and what is sent.
struct Scene {
    title: &'static str,
    body: String,
}

const CODE: &str = include_str!("tracebacks/code.txt");
const PRICE: &str = include_str!("tracebacks/price.txt");
const STOCK: &str = include_str!("tracebacks/stock.txt");
const FEED: &str = include_str!("tracebacks/feed.txt");

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    telemetry::start("warn", telemetry::Format::Text).map_err(Failure::Wrong)?;
    let folder = tempfile::Builder::new().prefix("blamed-demo-").tempdir().map_err(Failure::failed)?;
    let shop = folder.path().join("shop");
    let release = history::make(&shop).map_err(Failure::failed)?;

    let mut config = Config { data_dir: folder.path().join("data"), ..Config::default() };
    config.listen.set_port(0);
    // It listens for this machine alone, and what it has is made up.
    config.web.sign_in = SignIn::Off;
    house::default_project(&mut config, &shop)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut signals = Signals::hear()?;
        let daemon = Daemon::start(config, Clock::system()).await?;
        let key = daemon.projects()[0].keys[0].clone();
        print_line(&format!("A shop by three people is in {}; a daemon for it listens on {}.", shop.display(), daemon.url()))?;
        for (n, scene) in scenes(&release.to_string()).into_iter().enumerate() {
            print_line(&format!("\n{}\n{}. {}\n", "═".repeat(78), n + 1, scene.title))?;
            play(&daemon, &key, scene).await?;
        }
        if !arguments.once {
            print_line(&format!("\n{}\nNow you. The daemon stays up; report one of its tracebacks again, or one of yours:\n", "═".repeat(78)))?;
            let file = folder.path().join("traceback.txt");
            std::fs::write(&file, CODE).map_err(Failure::failed)?;
            print_line(&format!(
                "  blamed report --server {} --key {key} --wait {}\n  git -C {} blame shop/cart.py\n\nIts pages are at {} (without signing in). Ctrl-C ends it.",
                daemon.url(),
                file.display(),
                shop.display(),
                daemon.url()
            ))?;
            signals.stop().await;
        }
        daemon.stop().await;
        Ok(())
    })
}

fn scenes(release: &str) -> Vec<Scene> {
    let deployed = json!({
        "exception_type": "builtins.KeyError",
        "exception_message": "KeyError('FREIND')",
        "hostname": "web-2",
        "release": format!("shop@2026.04+{}", &release[..12]),
        "environment": "production",
        "traceback": [
            { "filename": "/app/order.py", "line_number": 24, "function_name": "main",
              "text": "place({\"id\": 1001, \"items\": [tea], \"code\": \"FREIND\"})" },
            { "filename": "/app/order.py", "line_number": 18, "function_name": "place",
              "text": "return cart.discounted(order[\"items\"], order[\"code\"])" },
            { "filename": "/app/shop/cart.py", "line_number": 15, "function_name": "discounted",
              "text": "percent = CODES[code]", "frame_locals": { "code": "'FREIND'" } },
        ],
        "error_count": 12,
    });
    vec![
        Scene {
            title: "A traceback as Python prints it, with the log around it. The failing line was\n   re-indented since; whoever indented it did not write it.",
            body: format!(
                "2026-11-20 09:14:02 INFO web-1 order 1001 received\n{CODE}2026-11-20 09:14:02 INFO web-1 worker restarts\n"
            ),
        },
        Scene { title: "The file was renamed after the line was written.", body: PRICE.to_owned() },
        Scene {
            title: "It fails deep in Python's own json library: the line of ours that called it counts.",
            body: FEED.to_owned(),
        },
        Scene {
            title: "Two exceptions, one the cause of the other, both raised on purpose: the line whose call\n   was refused counts, not the line that refused it.",
            body: STOCK.to_owned(),
        },
        Scene {
            title: "The first error again, as JSON, twelve times, from a server that still runs last\n   month's release, where the line looks different. It is the same line: no second mail.",
            body: deployed.to_string(),
        },
    ]
}

/// Sends one traceback and shows what came of it.
async fn play(daemon: &Daemon, key: &str, scene: Scene) -> Result<(), Failure> {
    let address = Address { server: daemon.url().trim_end_matches('/').to_owned(), key: key.to_owned() };
    let answer = tokio::task::spawn_blocking(move || {
        let path = format!("{REPORTS}?wait={}", report::DEFAULT_WAIT);
        let letter = Letter::plain(&path, scene.body.as_bytes());
        report::persist(&Client::new(), &address, &letter, report::DEFAULT_WAIT)
    });
    let answer: Value = answer.await.map_err(Failure::failed)??;
    print_line(&report::in_words(&answer))?;
    let Some(fault) = answer["fault"]["id"].as_i64() else { return Ok(()) };
    if answer["decision"]["mail"] != json!(true) {
        return Ok(());
    }
    for (to, text) in mails(daemon, fault)? {
        print_line(&format!("\n┌── mail to {to} {}", "─".repeat(65_usize.saturating_sub(to.len()))))?;
        for line in text.lines() {
            print_line(format!("│ {line}").trim_end())?;
        }
        print_line(&format!("└{}", "─".repeat(77)))?;
    }
    Ok(())
}

/// The mails owed about a fault, as they read.
fn mails(daemon: &Daemon, fault: i64) -> Result<Vec<(String, String)>, Failure> {
    let owed = daemon.store().read(|tx| {
        let mut owed = Vec::new();
        for status in tx.deliveries_about(fault)? {
            if let Some(delivery) = tx.delivery(status.id)? {
                owed.push((delivery.notice()?, delivery.recipient));
            }
        }
        Ok::<_, StoreError>(owed)
    });
    owed.map_err(Failure::failed)?
        .into_iter()
        .map(|(notice, to)| {
            let text = compose::text(&notice, &to, daemon.notify()).map_err(Failure::failed)?;
            Ok((to, format!("Subject: {}\n\n{text}", compose::subject(&notice))))
        })
        .collect()
}
