//! Whether a broker wants new connections, where it says so besides its answers to probes.

use std::time::Duration;

use balancer_control::ProbeResult;
use futures_util::future;
use serde_json::Value;

use super::Answer;
use super::agent_check::AgentProbe;
use super::http::Request;
use crate::config::{DrainCheck, DrainQuestion, DrainWhen, HealthConfig};
use crate::telemetry::SourceError;

/// All questions about the drain of one backend.
pub(super) struct DrainProbe {
    questions: Vec<Question>,
    timeout: Duration,
    /// Times in a row without an answer, after which the last one holds no longer.
    patience: u32,
}

/// One question, and what is known of the answer.
struct Question {
    ask: Ask,
    configured: bool,
    known: Wish,
    unanswered: u32,
    /// Why there was no answer the last time.
    why: Option<String>,
    /// What this host lacked to ask, the last time.
    lack: Option<String>,
}

/// Why there is no answer.
enum Silence {
    /// Asked in vain.
    Unanswered(String),
    /// This host lacks what asking takes.
    Unasked(String),
}

impl From<SourceError> for Silence {
    fn from(error: SourceError) -> Self {
        if error.is_lack() { Self::Unasked(error.to_string()) } else { Self::Unanswered(error.to_string()) }
    }
}

enum Ask {
    Http(Box<Request>, DrainWhen),
    Agent(AgentProbe),
}

/// What a broker wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    /// Clients, or nothing is known.
    #[default]
    Clients,
    /// No new ones.
    NoNewClients(String),
    /// None at all: somebody says that it is down.
    Nobody(String),
}

impl Wish {
    /// The result of a probe, given what the broker wants.
    pub(super) fn over(self, result: ProbeResult) -> ProbeResult {
        match (self, result) {
            (Self::Clients, result) | (_, result @ (ProbeResult::Down(_) | ProbeResult::Untried(_))) => {
                result
            }
            (Self::Nobody(why), _) => ProbeResult::Down(why),
            (Self::NoNewClients(_), result @ ProbeResult::Draining(_)) => result,
            (Self::NoNewClients(why), ProbeResult::Up | ProbeResult::Unknown(_)) => {
                ProbeResult::Draining(why)
            }
        }
    }
}

impl DrainProbe {
    pub(super) fn new(config: &HealthConfig) -> Self {
        let questions = config.drain.iter().cloned().map(Question::new).collect();
        Self { questions, timeout: config.timeout, patience: config.fall.max(1) }
    }

    /// Asks all at once. The worst answer counts.
    pub(super) async fn ask(&mut self) -> Wish {
        let (timeout, patience) = (self.timeout, self.patience);
        let answers = self.questions.iter_mut().map(|question| question.ask(timeout, patience));
        let wishes = future::join_all(answers).await;
        let severity = |wish: &Wish| match wish {
            Wish::Clients => 0,
            Wish::NoNewClients(_) => 1,
            Wish::Nobody(_) => 2,
        };
        wishes.into_iter().max_by_key(severity).unwrap_or_default()
    }

    /// Why a question that somebody configured has no answer.
    pub(super) fn note(&self) -> Option<String> {
        let unanswered = self.questions.iter().filter(|question| question.configured);
        unanswered.filter_map(|question| question.why.clone()).next()
    }

    /// What this host lacked to ask all questions.
    pub(super) fn lack(&self) -> Option<String> {
        self.questions.iter().find_map(|question| question.lack.clone())
    }
}

impl Question {
    fn new(check: DrainCheck) -> Self {
        let ask = match check.question {
            DrainQuestion::Http { url, auth, when } => Ask::Http(Box::new(Request::new(&url, auth)), when),
            DrainQuestion::AgentCheck { address, send } => Ask::Agent(AgentProbe::new(address, send)),
        };
        Self { ask, configured: check.configured, known: Wish::Clients, unanswered: 0, why: None, lack: None }
    }

    /// The answer, or for a while the last one.
    async fn ask(&mut self, timeout: Duration, patience: u32) -> Wish {
        self.lack = None;
        match self.ask.answer(timeout).await {
            Err(Silence::Unasked(why)) => self.lack = Some(why),
            Ok(wish) => (self.known, self.unanswered, self.why) = (wish, 0, None),
            Err(Silence::Unanswered(why)) => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.why = Some(why);
                if self.unanswered >= patience {
                    self.known = Wish::Clients;
                }
            }
        }
        self.known.clone()
    }
}

impl Ask {
    async fn answer(&mut self, timeout: Duration) -> Result<Wish, Silence> {
        match self {
            Self::Agent(agent) => match agent.probe(timeout).await {
                Answer::Is(ProbeResult::Down(why)) => Ok(Wish::Nobody(why)),
                Answer::Is(ProbeResult::Draining(why)) => Ok(Wish::NoNewClients(why)),
                Answer::Is(ProbeResult::Up | ProbeResult::Unknown(_)) => Ok(Wish::Clients),
                Answer::Is(ProbeResult::Untried(why)) => Err(Silence::Unasked(why)),
                Answer::Unknown(why) => Err(Silence::Unanswered(why)),
            },
            Self::Http(request, when) => {
                let wants_body = matches!(when, DrainWhen::Json(_));
                let (status, body) = request.send(wants_body, timeout).await?;
                let at = request.at();
                match when {
                    DrainWhen::Status(drains)
                        if drains.iter().any(|range| range.contains(&status.as_u16())) =>
                    {
                        Ok(Wish::NoNewClients(format!("{at}: {status}")))
                    }
                    DrainWhen::Status(_) if status.is_success() => Ok(Wish::Clients),
                    DrainWhen::Status(_) => Err(Silence::Unanswered(unexpected(&at, status))),
                    DrainWhen::Json(_) if !status.is_success() => {
                        Err(Silence::Unanswered(unexpected(&at, status)))
                    }
                    DrainWhen::Json(pointer) => wish(&body, pointer, &at).map_err(Silence::Unanswered),
                }
            }
        }
    }
}

fn unexpected(at: &str, status: hyper::StatusCode) -> String {
    let hint = match status.as_u16() {
        401 | 403 => "; write health.drain.username and health.drain.password_file",
        404 => "; the broker does not have this check",
        _ => "",
    };
    format!("{at}: {status}, so whether it drains is not known{hint}")
}

/// What the value at `pointer` says.
pub(super) fn wish(body: &str, pointer: &str, at: &str) -> Result<Wish, String> {
    let json: Value = serde_json::from_str(body).map_err(|e| format!("{at}: no JSON: {e}"))?;
    let drains = match json.pointer(pointer) {
        Some(Value::Bool(drains)) => *drains,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(other) => {
            return Err(format!("{at}: {pointer} is neither true, false nor a number: {other:.60}"));
        }
        None => return Err(format!("{at}: has no {pointer}")),
    };
    Ok(if drains { Wish::NoNewClients(format!("{at}: {pointer}")) } else { Wish::Clients })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_say_drain_and_others() {
        let at = "http://x/";
        let says = |body: &str| wish(body, "/0/being_drained", at);
        assert!(matches!(says(r#"[{"being_drained":true}]"#), Ok(Wish::NoNewClients(_))));
        assert!(matches!(says(r#"[{"being_drained":1}]"#), Ok(Wish::NoNewClients(_))));
        assert_eq!(says(r#"[{"being_drained":false}]"#), Ok(Wish::Clients));
        assert!(says(r#"[{"being_drained":"no"}]"#).unwrap_err().contains("neither true"));
        assert!(says("[]").unwrap_err().contains("has no /0/being_drained"));
        assert!(says("<html>").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn a_wish_changes_what_a_probe_says() {
        let no_new = || Wish::NoNewClients("503".to_owned());
        assert_eq!(Wish::Clients.over(ProbeResult::Up), ProbeResult::Up);
        assert_eq!(no_new().over(ProbeResult::Up), ProbeResult::Draining("503".to_owned()));
        let down = ProbeResult::Down("refused".to_owned());
        assert_eq!(no_new().over(down.clone()), down);
        assert_eq!(
            Wish::Nobody("down".to_owned()).over(ProbeResult::Up),
            ProbeResult::Down("down".to_owned())
        );
    }
}
