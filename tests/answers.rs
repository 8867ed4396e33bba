//! What clients are answered: the shapes that they parse, and what browsers want to know first.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use daemon::Daemon;
use git::{Repo, tree};
use serde_json::{Value, json};
use ureq::http::{Request, Response};

struct Clients {
    daemon: Daemon,
    _data: tempfile::TempDir,
    _repo: Repo,
}

impl Clients {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut repo = Repo::new();
        repo.commit("Ada", &[], &tree(&[("a.py", "f()\n")]));
        Self { daemon: Daemon::start(repo.path(), data.path()), _data: data, _repo: repo }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (Response<()>, Vec<u8>) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .build()
            .into();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.daemon.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, mut body) = agent.run(request.body(body).unwrap()).unwrap().into_parts();
        (Response::from_parts(head, ()), body.read_to_vec().unwrap())
    }

    /// Posts with the key; answers the status, the kinds of content, and the body.
    fn post(&self, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<String>, Value) {
        let headers = [("x-blamed-key", self.daemon.key.as_str()), ("content-type", kind)];
        let (response, body) = self.send("POST", path, &headers, body);
        let kinds = response.headers().get_all("content-type");
        let kinds = kinds.into_iter().map(|kind| kind.to_str().unwrap().to_owned()).collect();
        (response.status().as_u16(), kinds, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn each_client_gets_the_answer_that_it_parses() {
    let clients = Clients::new();
    let is_id = |value: &Value| value.as_str().is_some_and(|id| id.len() == 32);
    let json_kind = vec!["application/json".to_owned()];

    let (status, kinds, body) = clients.post("/api/1/envelope/", "", &fixture("sentry-python.envelope"));
    assert_eq!((status, &kinds), (200, &json_kind));
    assert!(is_id(&body["id"]), "{body}");
    let session = b"{}\n{\"type\":\"session\"}\n{}\n";
    assert_eq!(clients.post("/api/1/envelope/", "", session), (200, json_kind.clone(), json!({})));
    let (status, _, body) = clients.post("/api/1/envelope/", "", b"nonsense");
    assert_eq!((status, &body["detail"]), (422, &body["error"]));

    let (status, kinds, body) =
        clients.post("/api/v3/projects/1/notices?key=x", "text/plain", &fixture("pybrake.json"));
    assert_eq!((status, &kinds), (201, &json_kind));
    assert!(is_id(&body["id"]) && body["url"].is_string(), "{body}");
    let (status, kinds, body) = clients.post("/api/1/item/", "application/json", &fixture("rollbar.json"));
    assert_eq!((status, &kinds, &body["err"]), (200, &json_kind, &json!(0)));
    let sent: Value = serde_json::from_slice(&fixture("rollbar.json")).unwrap();
    assert_eq!(body["result"]["uuid"], sent["data"]["uuid"]);
    let (status, _, body) = clients.post("/api/1/item/", "application/json", b"{");
    assert_eq!((status, &body["err"]), (422, &json!(1)));
    let (status, kinds, body) =
        clients.post("/v1/notices/", "application/json", &fixture("honeybadger.json"));
    assert_eq!((status, &kinds, is_id(&body["id"])), (201, &json_kind, true));

    let protobuf = "application/x-protobuf";
    let answer = clients.post("/v1/traces", protobuf, &fixture("otlp-traces.protobuf"));
    assert_eq!(answer, (200, vec![protobuf.to_owned()], Value::Null));
    let answer = clients.post("/v1/logs", "application/json", &fixture("otlp-logs.json"));
    assert_eq!(answer, (200, json_kind.clone(), json!({})));
    // What comes along with errors is no reason to complain.
    let answer = clients.post("/v1/metrics", protobuf, b"\x0a\x00");
    assert_eq!(answer, (200, vec![protobuf.to_owned()], Value::Null));
    let (status, _, body) = clients.post("/v1/notices/js", "text/plain", &fixture("honeybadger.json"));
    assert_eq!((status, is_id(&body["id"])), (201, true));
    let form: String = form_urlencoded::Serializer::new("access_token=x".to_owned())
        .append_pair("payload", &String::from_utf8(fixture("rollbar.json")).unwrap())
        .finish();
    let (status, _, body) =
        clients.post("/api/1/item/", "application/x-www-form-urlencoded", form.as_bytes());
    assert_eq!((status, &body["result"]["uuid"]), (200, &sent["data"]["uuid"]));
    let (status, _, body) = clients.post("/api/v1/oops", "", &fixture("oops.bson"));
    assert_eq!((status, is_id(&body["id"])), (202, true));
}

#[test]
fn an_event_in_the_address_of_a_picture() {
    let clients = Clients::new();
    let event = r#"{"message":"gone","event_id":"0123456789abcdef0123456789abcdef"}"#;
    let packed = "eJyrVspNLS5OTE9VslJKz89LVaoFADzuBkk=";
    for data in [event, packed] {
        let data: String = form_urlencoded::byte_serialize(data.as_bytes()).collect();
        let path =
            format!("/api/1/store/?sentry_version=4&sentry_key={}&sentry_data={data}", clients.daemon.key);
        let (response, body) = clients.send("GET", &path, &[("origin", "http://shop.example")], b"");
        assert_eq!((response.status().as_u16(), &body[..6]), (200, &b"GIF89a"[..]), "{data}");
        assert_eq!(response.headers()["content-type"], "image/gif");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
    let path = format!("/api/1/store/?sentry_key={}", clients.daemon.key);
    assert_eq!(clients.send("GET", &path, &[], b"").0.status(), 422);
}

#[test]
fn browsers_may_report_from_anywhere() {
    let clients = Clients::new();
    let asking = [
        ("origin", "http://shop.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-sentry-auth"),
    ];
    for path in ["/api/1/envelope/", "/v1/traces", "/api/v3/projects/1/notices"] {
        let (response, _) = clients.send("OPTIONS", path, &asking, b"");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(response.status().is_success(), "{path}");
        assert_eq!(header("access-control-allow-origin"), "*");
        assert!(header("access-control-allow-methods").contains("POST"));
        assert_eq!(header("access-control-allow-headers"), "authorization,x-sentry-auth");
        // Refusals can be read, too.
        let (response, _) = clients.send("POST", path, &[asking[0]], b"{}");
        assert_eq!(response.status(), 401, "{path}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{path}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let clients = Clients::new();
    for (method, path) in [("GET", "/api/v1/reports"), ("PUT", "/v1/notices"), ("GET", "/api/1/envelope/")] {
        let (response, body) = clients.send(method, path, &[], b"");
        assert_eq!(response.status(), 405, "{path}");
        assert!(response.headers()["allow"].to_str().unwrap().contains("POST"), "{path}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"].as_str().unwrap().contains("with POST and their project's key"), "{body}");
    }
}
