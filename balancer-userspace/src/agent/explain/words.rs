//! Facts as sentences. Each number has its unit.

use crate::api::wire::{BackendFacts, Basis, Condition, Explanation, Policy, Run, Steering, per_second};

/// A service: how it draws, whom it prefers, and what stands in the way.
pub(super) fn of_service(answer: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(steering) = &answer.steering {
        lines.push(format!("service {}: {}", answer.service, policy(steering)));
        lines.extend(ring(steering));
    }
    lines.extend(answer.conditions.iter().map(condition));
    lines.extend(ranking(answer));
    for facts in &answer.backends {
        lines.push(format!("{}: {}", facts.name, in_short(facts)));
    }
    lines
}

/// One backend: its state, what holds of it, its score, its share.
pub(super) fn of_backend(answer: &Explanation, name: &str) -> Vec<String> {
    let Some(facts) = answer.backends.iter().find(|facts| facts.name == name) else { return Vec::new() };
    let mut lines = vec![state(&answer.service, facts), takes(answer, facts)];
    lines.extend(facts.conditions.iter().map(condition));
    lines.extend(score(answer, facts));
    lines.extend(telemetry(answer, facts));
    lines.extend(share(answer, facts));
    lines
}

/// How the policy picks a backend.
pub(super) fn policy(steering: &Steering) -> String {
    let draws = steering.draws;
    let drawn = if draws == 1 { "one candidate is".to_owned() } else { format!("{draws} candidates are") };
    match steering.policy {
        Policy::Adaptive => format!(
            "adaptive: {drawn} drawn from the ring by hash of the client's address and port, and the lowest score wins, \
             which is predicted utilisation"
        ),
        Policy::LeastConn => format!(
            "least-conn: {drawn} drawn from the ring by hash of the client's address and port, and the lowest score wins, \
             which is live connections over weight"
        ),
        Policy::WeightedCpu => "weighted-cpu: backends take turns, in shares by 100 - CPU %".to_owned(),
        Policy::RoundRobin => "round-robin: backends take turns, in shares by weight".to_owned(),
        Policy::Random => "random: a slot of the ring is drawn at random, in shares by weight".to_owned(),
        Policy::Maglev => {
            "maglev: the slot of the ring that the client's address and port hash to, in shares by weight"
                .to_owned()
        }
    }
}

fn ring(steering: &Steering) -> Option<String> {
    let (ago, why) = (steering.ring_seconds?, steering.ring_why.as_ref()?);
    let (moved, slots) = (steering.ring_moved?, steering.ring_slots);
    if moved == 0 {
        return Some(format!("the ring was {why} {} ago, and no slot has moved since", span(ago)));
    }
    Some(format!("the ring changed last {} ago: {why}; {moved} of {slots} slots moved", span(ago)))
}

/// Those that take new flows, the lowest score first.
fn ranking(answer: &Explanation) -> Option<String> {
    if !by_score(answer) {
        return None;
    }
    let mut open: Vec<&BackendFacts> =
        answer.backends.iter().filter(|facts| facts.open && !facts.standby).collect();
    open.sort_by(|a, b| a.score.total_cmp(&b.score));
    let names: Vec<String> =
        open.iter().map(|facts| format!("{} {}", facts.name, number(answer, facts.score))).collect();
    (!names.is_empty()).then(|| format!("by score, the lowest first: {}", names.join(", ")))
}

fn in_short(facts: &BackendFacts) -> String {
    let mut parts = vec![match &facts.reason {
        Some(reason) if !facts.open => format!("{} ({reason})", facts.state),
        Some(_) | None => facts.state.clone(),
    }];
    parts.push(format!("{} live", facts.live));
    parts.push(format!("{} of the ring", percent(facts.ring_share)));
    parts.extend(facts.conditions.iter().map(|condition| condition.condition.clone()));
    parts.join(", ")
}

fn state(service: &str, facts: &BackendFacts) -> String {
    let since = facts.state_seconds.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
    let reason = facts.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{service}/{} is {}{since}{reason}", facts.name, facts.state)
}

fn takes(answer: &Explanation, facts: &BackendFacts) -> String {
    let live = format!("it has {} live connections", facts.live);
    let own = || closing(&facts.conditions);
    // That there is no backend is what follows, and no reason.
    let of_service = closing(&answer.conditions).filter(|word| *word != "no-backend");
    let of_service = of_service.map(|word| format!("{word} of the service"));
    if !facts.open {
        let state = (facts.state != "up").then_some(facts.state.as_str());
        let it_is: Vec<&str> = state.into_iter().chain(own()).collect();
        let it_is = (!it_is.is_empty()).then(|| format!("it is {}", it_is.join(" and ")));
        let why: Vec<String> = it_is.into_iter().chain(of_service.map(|word| format!("of {word}"))).collect();
        return format!("it takes no new flows, because {}; {live}, which go on", why.join(" and "));
    }
    if facts.conditions.iter().any(|condition| condition.condition == "waiting") {
        return format!(
            "it takes new flows, but is not asked while priority groups before it take them; {live}"
        );
    }
    if facts.standby {
        let needed = !answer.backends.iter().any(|other| other.open && !other.standby);
        let when = if needed { "as no backend of the ring does" } else { "but is not asked while others do" };
        return format!("it takes new flows, {when}; {live}");
    }
    let passing: Vec<String> = own().map(str::to_owned).chain(of_service).collect();
    if !passing.is_empty() {
        return format!(
            "it takes new flows, but none for the moment, because of {}; {live}",
            passing.join(" and ")
        );
    }
    format!("it takes new flows; {live}")
}

/// What keeps new flows away, of what holds.
fn closing(conditions: &[Condition]) -> impl Iterator<Item = &str> {
    conditions.iter().filter(|condition| condition.closes).map(|condition| condition.condition.as_str())
}

/// Flows that are being closed on an order, whose clients come again.
pub(super) fn run(run: &Run) -> String {
    let what = match (&run.backend, run.to) {
        (Some(backend), _) => format!("a drain of {}/{backend}", run.service),
        (None, to) => format!("a rebalancing to {}", percent(to.unwrap_or(0.0))),
    };
    let why = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    format!(
        "{what} at {} is under way for {}{why}: {} flows closed, {} listed to be; their clients come again as new flows",
        per_second(run.rate),
        span(run.age_seconds),
        run.closed,
        run.listed
    )
}

/// A condition as a sentence.
pub(super) fn condition(condition: &Condition) -> String {
    let since = condition.seconds.map(|seconds| format!(" for {}", span(seconds))).unwrap_or_default();
    let closes = if condition.closes { ", which keeps new flows away" } else { "" };
    format!("{}{since}{closes}: {}", condition.condition, condition.reason)
}

/// How a score came about.
pub(super) fn score(answer: &Explanation, facts: &BackendFacts) -> Option<String> {
    let (base, cost, counted) = (facts.base?, facts.cost?, facts.counted?);
    let all = number(answer, facts.score);
    let policy = answer.steering.as_ref()?.policy;
    let since = i128::from(facts.live) - i128::from(counted);
    let change = match since {
        0 => "nothing opened or closed since".to_owned(),
        n if n > 0 => format!("{n} more connections since at {} each", cost_text(cost)),
        n => format!("{} fewer connections since at {} each", -n, cost_text(cost)),
    };
    match (facts.basis?, policy) {
        (Basis::Fixed, _) => None,
        (_, Policy::LeastConn) => Some(format!(
            "its score is {all}: {} live connections over weight {}",
            facts.live,
            facts.weight.map_or_else(|| "?".to_owned(), |weight| weight.to_string())
        )),
        (Basis::Level, _) => Some(format!(
            "its score is {all}: {} predicted from telemetry with {counted} connections, and {change}",
            number(answer, base)
        )),
        (Basis::Count, _) if base > 0.0 => Some(format!(
            "its score is {all} by count: {} with {counted} connections, and {change}",
            number(answer, base)
        )),
        (Basis::Count, _) => Some(format!(
            "its score is {all} by count: {} live connections at {} each",
            facts.live,
            cost_text(cost)
        )),
    }
}

fn telemetry(answer: &Explanation, facts: &BackendFacts) -> Option<String> {
    let age = facts.sample_age_seconds?;
    let limit = answer.steering.as_ref()?.stale_after_seconds;
    let level =
        facts.utilisation.map(|level| format!(", utilisation {}", percent(level))).unwrap_or_default();
    Some(format!("its last reading is {} old (used until {}){level}", span(age), span(limit)))
}

fn share(answer: &Explanation, facts: &BackendFacts) -> Vec<String> {
    if facts.standby {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let (weight, share) = (facts.weight.unwrap_or(0), facts.weight_share.unwrap_or(0.0));
    let mut line = format!(
        "it has {} of the ring; its weight {weight} alone would be {}",
        percent(facts.ring_share),
        percent(share)
    );
    if let Some(capacity) = facts.capacity.filter(|_| facts.capacity_learnt == Some(true)) {
        line += &format!(", and its capacity is learnt to be {capacity:.2} times the mean");
    }
    lines.push(line);
    let draws = answer.steering.as_ref().map_or(1, |steering| steering.draws);
    if let Some(most) = facts.most_share.filter(|_| facts.open && draws > 1 && by_score(answer)) {
        lines.push(format!(
            "with {draws} draws it gets at most {} of new flows, whatever its score",
            percent(most)
        ));
    }
    lines
}

/// Whether scores decide.
fn by_score(answer: &Explanation) -> bool {
    answer.steering.as_ref().is_some_and(|s| matches!(s.policy, Policy::Adaptive | Policy::LeastConn))
}

/// A score in the unit that it has under the policy: per cent of a backend's capacity, or connections per weight.
pub(super) fn number(answer: &Explanation, score: f64) -> String {
    match answer.steering.as_ref().map(|steering| steering.policy) {
        Some(Policy::LeastConn) => format!("{score:.3} connections per weight"),
        _ => percent(score),
    }
}

fn cost_text(cost: f64) -> String {
    format!("{:.4} %", cost * 100.0)
}

/// A share or utilisation as a percentage.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// A duration in its two largest units.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", seconds.max(0.0));
    }
    let whole = std::time::Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
