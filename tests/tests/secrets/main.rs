//! Secrets are in no log, error, answer, metric or file of the agent, whatever becomes of their use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

mod fake;
mod places;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use balancer_tests::{
    agent::Agent,
    lab::{self, Lab, LabOptions},
    plan::Plan,
    tcp::EchoServer,
    wait::{PATIENCE, until_ok},
};
use rcgen::{CertificateParams, KeyPair};

use fake::Heard;
use places::{Case, HASH_KEY, Secrets, cases, mistakes};

const METRICS: &str = "127.0.0.1:9464";

/// What was said, by whom.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, whose: impl Into<String>, what: impl Into<String>) {
        self.0.push((whose.into(), what.into()));
    }

    /// The answer of a client verb, or its error.
    fn ask(&mut self, agent: &Agent<'_>, words: &[&str]) -> Result<(), String> {
        // Before that stands what was typed, which nobody is told that has not typed it.
        let said = |error: anyhow::Error| {
            let text = format!("{error:#}");
            text.split_once(" ended with ").map_or_else(|| text.clone(), |(_, said)| said.to_owned())
        };
        let answer = agent.control.run(words).map_err(said);
        let text = match &answer {
            Ok(text) | Err(text) => text.clone(),
        };
        self.add(words.join(" "), text);
        answer.map(drop)
    }

    /// Everything in a folder but the configuration, which is where secrets of mistakes are.
    fn add_folder(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.extension().is_none_or(|extension| extension != "toml") {
                self.add(path.display().to_string(), String::from_utf8_lossy(&fs::read(&path).unwrap()));
            }
        }
    }

    /// Who said one of the secrets, in any of their forms.
    fn leaks(&self, secrets: &[String]) -> Vec<String> {
        let mut leaks = Vec::new();
        for (whose, what) in &self.0 {
            for form in secrets.iter().flat_map(|secret| forms(secret)) {
                if let Some(at) = what.find(&form) {
                    let line = what[..at].matches('\n').count();
                    leaks.push(format!("{whose}: {}", what.lines().nth(line).unwrap_or_default()));
                }
            }
        }
        leaks
    }
}

/// How a secret may look: as it is, as HTTP carries it with the user's name, and as bytes are shown.
fn forms(secret: &str) -> [String; 3] {
    let bytes = format!("{:?}", secret.as_bytes());
    [secret.to_owned(), base64(format!("u:{secret}").as_bytes()), bytes[1..bytes.len() - 1].to_owned()]
}

/// RFC 4648 section 4, without what the last bytes share with the padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |word: u32, at: u32| char::from(LETTERS[(word >> (18 - 6 * at)) as usize & 63]);
    let whole = bytes.chunks_exact(3).map(|three| u32::from_be_bytes([0, three[0], three[1], three[2]]));
    whole.flat_map(|word| (0..4).map(move |at| letter(word, at))).collect()
}

/// Waits until every secret has been used, with the result that the cases say.
fn wait_for_all(agent: &Agent<'_>, cases: &[Case]) {
    let used = until_ok("all secrets to be used", PATIENCE, || {
        let status = agent.control.status()?;
        for Case { name, health, telemetry, discovered, .. } in cases {
            if *discovered {
                let service = status.services.iter().find(|service| service.name == *name);
                let discovery = service.context("no service")?.discovery.as_ref().context("no discovery")?;
                ensure!(format!("{discovery:?}").contains(health), "{name}: {discovery:?}");
                continue;
            }
            let backend =
                status.backends.iter().find(|backend| backend.service == *name).context("no backend")?;
            // What says nothing of the broker, as a file of this host, is a warning and not its reason.
            let asked = format!("probe of {} ({}): ", backend.name, backend.address);
            let told = status.warnings.iter().filter(|warning| warning.starts_with(&asked));
            let told: Vec<&String> = told.chain([&backend.reason]).collect();
            ensure!(told.iter().any(|text| text.contains(health)), "{name}: health: {told:?}");
            let problem = backend.telemetry_problem.as_deref().unwrap_or_default();
            ensure!(problem.contains(telemetry), "{name}: telemetry: {problem}");
        }
        Ok(())
    });
    used.unwrap_or_else(|error| panic!("{error:#}\n{}", agent.log()));
}

/// Whether a fake was told the secret.
fn was_told(heard: &Heard, secret: &str) -> bool {
    let heard = heard.lock().unwrap();
    forms(secret).iter().any(|form| heard.windows(form.len()).any(|window| window == form.as_bytes()))
}

fn certificate(path: &Path) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["gateway".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(path, certificate.pem()).unwrap();
}

fn metrics(lab: &Lab) -> String {
    let mut stream = lab.gateway.enter(|| TcpStream::connect(METRICS)).unwrap().unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    page
}

#[test]
fn leaks_are_seen() {
    assert!("dXNlcjpzZWNyZXQ=".starts_with(&base64(b"user:secret")));
    let mut said = Said::default();
    said.add("log", "all is well\nasked with dTpzM2NyM3QtMC1wYXNz\n");
    assert_eq!(said.leaks(&["s3cr3t-0-pass".to_owned()]), ["log: asked with dTpzM2NyM3QtMC1wYXNz"]);
    assert!(said.leaks(&["s3cr3t-1-pass".to_owned()]).is_empty());
    said.add("error", "InvalidLine([9, 115, 101, 99, 114, 101, 116, 9])");
    assert_eq!(said.leaks(&["secret".to_owned()]).len(), 1);
}

#[test]
#[ignore = "needs root and network namespaces: cargo xtask test"]
fn secrets_are_told_to_whom_they_are_for_and_nobody_else() {
    let lab = Lab::new(LabOptions { brokers: 1, clients: 1 }).unwrap();
    let host = &lab.brokers[0];
    let _echo = EchoServer::start(&host.netns, lab::PORT, "echo").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let secrets = Secrets::new(directory.path());
    let (cases, heard) = (cases(&secrets), Heard::default());
    let used = secrets.all().len();
    for case in &cases {
        fake::serve(host, case.port, case.answer, &heard);
    }
    certificate(&directory.path().join("certificate.pem"));

    let agent = Agent::start_with_metrics(&lab, &Plan::tcp(&lab, "random"), METRICS).unwrap();
    let plan = fs::read_to_string(agent.config()).unwrap();
    let certificate = directory.path().join("certificate.pem");
    let services: Vec<_> = cases.iter().map(|case| case.service(lab::VIP4, host.v4, &certificate)).collect();
    let good = plan
        .replace("log = \"debug\"", "log = \"trace\"")
        .replace("[datapath]", &format!("[datapath]\nhash_key = \"{HASH_KEY}\""))
        + &services.concat();
    assert!(good.contains("\"trace\"") && good.contains(HASH_KEY), "{good}");
    fs::write(agent.config(), &good).unwrap();

    let mut said = Said::default();
    said.ask(&agent, &["reload"]).unwrap();
    cases.iter().find(|case| case.name == "spoilt").unwrap().spoil();
    wait_for_all(&agent, &cases);
    let config = agent.config();
    let config = config.to_str().unwrap();
    for words in [
        &["status"][..],
        &["service", "list"],
        &["backend", "list"],
        &["explain", "http-refused"],
        &["explain", "unfit/b"],
        &["log", "--summaries"],
        &["flow", "list"],
        &["rebalance", "status"],
    ] {
        for json in [&[][..], &["--json"]] {
            said.ask(&agent, &[words, json].concat()).unwrap();
        }
    }
    said.add("/metrics", metrics(&lab));
    said.add("Debug", format!("{:?}", balancer_userspace::config::load(&agent.config())));
    for words in [
        &["check", "--config", config][..],
        &["doctor", "--config", config],
        &["upgrade", "--config", config],
    ] {
        for json in [&[][..], &["--json"]] {
            // What they find here is not what this is about.
            let _ = said.ask(&agent, &[words, json].concat());
        }
    }

    for mistake in mistakes(&secrets) {
        fs::write(agent.config(), format!("{good}{mistake}")).unwrap();
        for words in [&["reload"][..], &["reload", "--json"], &["check", "--config", config]] {
            let refused = said.ask(&agent, words).expect_err(&mistake);
            assert!(refused.contains("line "), "{mistake}: {refused}");
        }
        said.add("Debug", format!("{:?}", balancer_userspace::config::load(&agent.config())));
    }
    let target = format!("http://u:{}@{}:2003/", secrets.word(), host.v4);
    said.ask(&agent, &["preset", "test", &target, "--preset", "mosquitto"]).unwrap_err();

    let pid = agent.pid().unwrap();
    said.add("the command line", fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap());
    said.add_folder(agent.directory());
    assert!(agent.log().contains("DEBUG probe of backend"), "the log is not whole");

    let all = secrets.all();
    // Nobody is told a key, what is behind TLS that fails, what is in files that cannot be used, and what a broker that is
    // down is not asked.
    let untold: Vec<_> = all[..used].iter().filter(|secret| !was_told(&heard, secret)).collect();
    assert!(untold.len() <= 8, "never used: {untold:?}");
    let mut hidden = all.clone();
    hidden.push(HASH_KEY.to_owned());
    hidden.push(u64::from_str_radix(HASH_KEY, 16).unwrap().to_string());
    let leaks = said.leaks(&hidden);
    assert!(leaks.is_empty(), "secrets leak:\n{}", leaks.join("\n"));
}
