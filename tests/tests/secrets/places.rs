//! Every place where a secret can be configured, each with a secret of its own, and what becomes of its use.

use std::{cell::RefCell, fs, net::Ipv4Addr, path::Path};

use crate::fake::Answer;

/// The key of the flow hash, as it is written.
pub(crate) const HASH_KEY: &str = "5ec2e75ec2e75ec2";

/// Secrets, in files of their own.
pub(crate) struct Secrets<'a> {
    directory: &'a Path,
    made: RefCell<Vec<String>>,
}

impl<'a> Secrets<'a> {
    pub(crate) const fn new(directory: &'a Path) -> Self {
        Self { directory, made: RefCell::new(Vec::new()) }
    }

    /// A secret that nothing else has.
    pub(crate) fn word(&self) -> String {
        let word = format!("s3cr3t-{}-pass", self.made.borrow().len());
        self.made.borrow_mut().push(word.clone());
        word
    }

    /// The path of a file whose content has a secret in it.
    fn file(&self, content: impl FnOnce(&str) -> Vec<u8>) -> String {
        let word = self.word();
        let path = self.directory.join(format!("file{}", self.made.borrow().len()));
        fs::write(&path, content(&word)).expect("the directory can be written to");
        path.display().to_string()
    }

    /// `username` and `password_file`.
    fn password(&self) -> String {
        format!("username = \"u\", password_file = {:?}", self.file(|word| format!("{word}\n").into()))
    }

    /// `token_file`.
    fn token(&self) -> String {
        format!("token_file = {:?}", self.file(|word| format!("{word}\n").into()))
    }

    /// All that were made.
    pub(crate) fn all(&self) -> Vec<String> {
        self.made.borrow().clone()
    }
}

/// One service of one backend, which is served by a fake.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// What the fake answers.
    pub(crate) answer: Answer,
    /// Sections of the service, without the backend.
    sections: String,
    /// Words of what is said of the backend's health; empty when it is up all the same, as after a refused login.
    pub(crate) health: &'static str,
    /// Words of what is said of its telemetry; empty when nothing is.
    pub(crate) telemetry: &'static str,
    /// Whether the backend is found by a discovery, which fails.
    pub(crate) discovered: bool,
}

const METRICS: &str = "metrics = { cpu_percent = \"cpu\", connections = \"connections\" }";
const POINTERS: &str = "metrics = { cpu_percent = \"/cpu\", connections = \"/connections\" }";

/// The cases. Files of the last ones are spoilt by [`spoil`] when the configuration has been checked.
pub(crate) fn cases(secrets: &Secrets<'_>) -> Vec<Case> {
    let plain = |name, answer, health, telemetry, sections| Case {
        name,
        port: 0,
        answer,
        sections,
        health,
        telemetry,
        discovered: false,
    };
    let (password, token) = (|| secrets.password(), || secrets.token());
    let key = |content: fn(&str) -> Vec<u8>| secrets.file(content);
    let mut cases = vec![
        plain(
            "accepted",
            Answer::Mqtt(0),
            "",
            "",
            format!("health = {{ kind = \"mqtt\", {} }}\ntelemetry = {{ source = \"none\" }}\n", password()),
        ),
        plain(
            "mqtt-refused",
            Answer::Mqtt(4),
            "",
            "CONNACK 4",
            format!(
                "health = {{ kind = \"mqtt\", {} }}\ntelemetry = {{ source = \"mqtt-sys\", {} }}\npreset = \"mosquitto\"\n",
                password(),
                password()
            ),
        ),
        plain(
            "http-refused",
            Answer::Text("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
            "401",
            "401; the token in",
            format!(
                "health = {{ kind = \"http\", path = \"/\", {}, drain = {{ port = PORT, path = \"/d\", {} }} }}\n\
                 telemetry = {{ source = \"prometheus\", {METRICS}, port = PORT, {} }}\n",
                password(),
                token(),
                token()
            ),
        ),
        plain(
            "redirected",
            Answer::Redirect,
            "302",
            "302 to http://elsewhere/login; redirects are not followed",
            format!(
                "health = {{ kind = \"http\", path = \"/\", {} }}\n\
                 telemetry = {{ source = \"json\", {POINTERS}, port = PORT, {} }}\n",
                token(),
                password()
            ),
        ),
        plain(
            "login-page",
            Answer::Text("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"),
            "",
            "200 but body is text/html",
            format!(
                "health = {{ kind = \"http\", path = \"/\", {} }}\n\
                 telemetry = {{ source = \"prometheus\", {METRICS}, port = PORT, {} }}\n",
                token(),
                token()
            ),
        ),
        plain(
            "stomp-refused",
            Answer::Text("ERROR\nmessage:access refused\n\n\0"),
            "",
            "",
            format!("health = {{ kind = \"stomp\", {} }}\ntelemetry = {{ source = \"none\" }}\n", password()),
        ),
        plain(
            "no-tls",
            Answer::Text("HTTP/1.1 400 Bad Request\r\n\r\n"),
            "no private key in PEM form",
            "is it a port without TLS?",
            format!(
                "health = {{ kind = \"mqtt\", {}, tls = {{ certificate_file = \"CERTIFICATE\", key_file = {:?} }} }}\n\
                 telemetry = {{ source = \"prometheus\", {METRICS}, port = PORT, {}, tls = {{ verify = false }} }}\n",
                password(),
                key(|word| format!("-----BEGIN PRIVATE KEY-----\n{word}\n").into()),
                token()
            ),
        ),
        plain(
            "agent-check",
            Answer::Text("what?\n"),
            "",
            "what?",
            format!(
                "health = {{ kind = \"agent-check\", port = PORT, send = \"{}\\n\" }}\n\
                 telemetry = {{ source = \"agent-check\", port = PORT, send = \"{}\\n\" }}\n",
                secrets.word(),
                secrets.word()
            ),
        ),
        plain(
            "unfit",
            Answer::Silence,
            "it is not UTF-8",
            "characters that HTTP cannot carry",
            format!(
                "health = {{ kind = \"http\", path = \"/\", username = \"u\", password_file = {:?} }}\n\
                 telemetry = {{ source = \"prometheus\", {METRICS}, port = PORT, token_file = {:?} }}\n",
                key(|word| [word.as_bytes(), b"\xff\n"].concat()),
                key(|word| format!("{word}\x7f\n").into())
            ),
        ),
        plain(
            "spoilt",
            Answer::Silence,
            "No such file",
            "it is not a file",
            format!(
                "health = {{ kind = \"http\", path = \"/\", {} }}\n\
                 telemetry = {{ source = \"prometheus\", {METRICS}, port = PORT, {} }}\n",
                password(),
                token()
            ),
        ),
        plain(
            "registry-refused",
            Answer::Text("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            "403; the token in",
            "",
            format!("discovery = {{ kind = \"http\", url = \"http://HOST:PORT/sd\", {} }}\n", token()),
        ),
        plain(
            "registry-redirects",
            Answer::Redirect,
            "302 to http://elsewhere/login",
            "",
            format!("discovery = {{ kind = \"http\", url = \"http://HOST:PORT/sd\", {} }}\n", password()),
        ),
    ];
    for (case, port) in cases.iter_mut().zip(2001..) {
        case.port = port;
        case.discovered = case.name.starts_with("registry");
    }
    cases
}

impl Case {
    /// Its service, at the VIP.
    pub(crate) fn service(&self, vip: Ipv4Addr, host: Ipv4Addr, certificate: &Path) -> String {
        let Self { name, port, .. } = self;
        let sections = self
            .sections
            .replace("PORT", &port.to_string())
            .replace("HOST", &host.to_string())
            .replace("CERTIFICATE", &certificate.display().to_string())
            .replace("health = { ", "health = { interval = \"300ms\", timeout = \"300ms\", ")
            .replace("telemetry = { ", "telemetry = { interval = \"300ms\", timeout = \"300ms\", ");
        let service = format!("[[service]]\nname = {name:?}\nvip = \"{vip}\"\nport = {port}\n{sections}");
        if self.discovered {
            return service + "health = { kind = \"none\" }\n";
        }
        service + &format!("[[service.backend]]\nname = \"b\"\naddress = \"{host}:{port}\"\n")
    }

    /// Spoils the files of its secrets: one is gone, the other a directory.
    pub(crate) fn spoil(&self) {
        let mut files = self.sections.split('"').filter(|word| word.starts_with('/') && word.len() > 1);
        let (first, second) = (files.next().expect("a password"), files.next().expect("a token"));
        fs::remove_file(first).expect("it was there");
        fs::remove_file(second).expect("it was there");
        fs::create_dir(second).expect("its place is free");
    }
}

/// Mistakes that put a secret into the configuration itself. All are refused.
pub(crate) fn mistakes(secrets: &Secrets<'_>) -> Vec<String> {
    let forms: [fn(&str) -> String; 9] = [
        |word| format!("password = \"{word}\""),
        |word| format!("password_file = \"{word}\""),
        |word| format!("token_file = [\"{word}\"]"),
        |word| format!("password_file = \"{word}"),
        |word| format!("username = \"u\" \"{word}\""),
        |word| format!("url = \"http://u:{word}@127.0.0.1/metrics\""),
        |word| format!("url = \"u:{word}@127.0.0.1\""),
        |word| format!("tls = {{ key_file = \"{word}\" }}"),
        |word| format!("node_exporter = 9100\nreport = {{ token = \"{word}\" }}"),
    ];
    let mut mistakes: Vec<_> =
        forms.iter().map(|form| format!("[service.telemetry]\n{}\n", form(&secrets.word()))).collect();
    let url = format!("http://u:{}@127.0.0.1/sd", secrets.word());
    mistakes.push(format!("[service.discovery]\nkind = \"http\"\nurl = \"{url}\"\n"));
    mistakes
}
