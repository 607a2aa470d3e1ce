//! Who is ejected: one backend's SYNs against those of the others of its service.

use balancer_common::abi::BackendId;

use crate::backend::Backend;
use crate::ejection::{Evidence, LATELY, MARGIN, TRIAL_SYNS};
use crate::history::Past;
use crate::{EjectionSpec, Moment};

/// Ejects, tries and takes back; says whether anything changed. `panics` is whether what probes say is set aside: then
/// SYNs are the only witness, and as many are ejected as answer nothing at all. Those that answer some are overloaded, and
/// ejecting one of them after the other would leave the last with everything.
pub(crate) fn judge(
    backends: &mut [Backend],
    past: &Past,
    spec: Option<&EjectionSpec>,
    panics: bool,
    now: Moment,
) -> bool {
    let Some(spec) = spec else { return take_back(backends, now) };
    let mut changed = false;
    for backend in backends.iter_mut() {
        changed |= backend.ejection.settle(spec, now);
    }
    for (id, evidence) in suspects(backends, past, spec, now) {
        let Some(index) = backends.iter().position(|backend| backend.id() == id) else { continue };
        let may = has_room(backends, spec) || panics && is_dead(&backends[index], past, spec);
        let verdict = if may { rest(backends, past, id, spec) } else { None };
        let backend = &mut backends[index];
        if let Some(rest) = verdict.filter(|rest| evidence.share() >= spec.failing.share().max(rest + MARGIN))
        {
            backend.ejection.eject(&words(&evidence, rest, spec), spec, now);
            changed = true;
        } else if backend.ejection.is_on_trial() {
            backend.ejection.clear(now);
            changed = true;
        }
    }
    // Others may have gone since. The last one that is left is never closed by its SYNs alone.
    if !backends.iter().any(Backend::takes_flows) {
        changed |= take_back(backends, now);
    }
    changed
}

/// Ends every ejection of a backend in rotation.
fn take_back(backends: &mut [Backend], now: Moment) -> bool {
    let mut changed = false;
    let ejected = |backend: &&mut Backend| backend.in_rotation() && backend.ejection.deadline().is_some();
    for backend in backends.iter_mut().filter(ejected) {
        backend.ejection.clear(now);
        changed = true;
    }
    changed
}

/// Backends whose SYNs decide against them, the worst first, because not all of them may be ejected. Those on trial whose
/// SYNs are answered are among them: their trial has to be ended.
fn suspects(
    backends: &[Backend],
    past: &Past,
    spec: &EjectionSpec,
    now: Moment,
) -> Vec<(BackendId, Evidence)> {
    let mut suspects: Vec<(BackendId, Evidence)> = Vec::new();
    for backend in backends.iter().filter(|backend| backend.in_rotation() && !backend.ejection.is_out()) {
        let evidence = evidence(backend, past, spec);
        let is_failing =
            evidence.settled() >= f64::from(spec.min_syns) && evidence.share() >= spec.failing.share();
        if backend.ejection.is_decided(&evidence, now) || !backend.ejection.is_on_trial() && is_failing {
            suspects.push((backend.id(), evidence));
        }
    }
    suspects.sort_by(|a, b| b.1.share().total_cmp(&a.1.share()).then(a.0.cmp(&b.0)));
    suspects
}

fn evidence(backend: &Backend, past: &Past, spec: &EjectionSpec) -> Evidence {
    let history = backend.history(past);
    Evidence::since(history, backend.ejection.from(history, spec.window))
}

/// Whether nothing that was sent to it lately was answered.
fn is_dead(backend: &Backend, past: &Past, spec: &EjectionSpec) -> bool {
    let history = backend.history(past);
    let dead = |window| {
        let evidence = Evidence::since(history, backend.ejection.from(history, window));
        evidence.answered == 0.0 && evidence.failed() >= f64::from(spec.min_syns).min(TRIAL_SYNS)
    };
    dead(spec.window) || dead(LATELY)
}

/// Whether one more may be ejected.
fn has_room(backends: &[Backend], spec: &EjectionSpec) -> bool {
    let configured = backends.iter().filter(|backend| !backend.spec.leaving).count();
    let out = backends.iter().filter(|backend| backend.in_rotation() && backend.ejection.is_out()).count();
    out < spec.most.of(configured).max(1)
}

/// The failing share of the better half of the others, zero when too little is known of them; `None` when there is
/// nobody else to take new flows. Half, because two backends that fail together must not excuse each other.
fn rest(backends: &[Backend], past: &Past, id: BackendId, spec: &EjectionSpec) -> Option<f64> {
    let others = || backends.iter().filter(|other| other.id() != id && other.takes_flows());
    others().next()?;
    let mut shares: Vec<f64> = others()
        .map(|other| evidence(other, past, spec))
        .filter(|evidence| evidence.all() >= f64::from(spec.min_syns))
        .map(|evidence| evidence.failing_share())
        .collect();
    shares.sort_by(f64::total_cmp);
    shares.truncate(shares.len().div_ceil(2));
    // The sum of no floats is -0.0.
    Some(if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 })
}

fn words(evidence: &Evidence, rest: f64, spec: &EjectionSpec) -> String {
    format!(
        "{:.0} of {:.0} SYNs in {:?} failed ({:.0} refused with a RST, {:.0} not answered), {:.0} % at the others",
        evidence.failed(),
        evidence.settled(),
        spec.window,
        evidence.refused,
        evidence.failed() - evidence.refused,
        rest * 100.0
    )
}
