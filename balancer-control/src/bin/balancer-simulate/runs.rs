//! Running everything that is wanted, and what came of it.

use std::collections::BTreeMap;

use balancer_control::sim::{Case, Outcome, SteererName, mean, quantile, random_case, run};

/// What to run.
pub(crate) struct Wanted {
    pub(crate) seed: u64,
    pub(crate) repeats: u64,
    pub(crate) policies: Vec<SteererName>,
    pub(crate) named: Vec<Case>,
    pub(crate) random: u64,
}

/// What came of it.
pub(crate) struct Runs {
    pub(crate) wanted: Wanted,
    /// By case, in the order of the catalogue.
    pub(crate) named: Vec<BTreeMap<SteererName, Summary>>,
    /// Every random case, in the order of the seeds.
    pub(crate) suite: BTreeMap<SteererName, Vec<Random>>,
}

/// One random case.
#[derive(Clone, Copy)]
pub(crate) struct Random {
    /// Imbalance, mean of the whole run and of its last minute.
    pub(crate) average: f64,
    pub(crate) last_minute: f64,
    pub(crate) timeouts: u64,
}

/// Means over the seeds of a named case.
pub(crate) struct Summary {
    pub(crate) max_over_mean: f64,
    pub(crate) average: f64,
    pub(crate) connect_p99: f64,
    pub(crate) timeouts: f64,
    pub(crate) peak_share: f64,
    /// `None` when some seed did not settle.
    pub(crate) settled: Option<f64>,
    /// Of the first seed.
    pub(crate) series: Vec<f64>,
}

impl Summary {
    fn of(outcomes: Vec<Outcome>) -> Self {
        let over = |field: fn(&Outcome) -> f64| mean(&outcomes.iter().map(field).collect::<Vec<_>>());
        let settled: Option<Vec<f64>> = outcomes.iter().map(|outcome| outcome.settled).collect();
        Self {
            max_over_mean: over(|outcome| outcome.max_over_mean),
            average: over(|outcome| outcome.average),
            connect_p99: over(|outcome| outcome.connect_p99),
            timeouts: over(|outcome| outcome.timeouts as f64),
            peak_share: over(|outcome| outcome.peak_share),
            settled: settled.map(|settled| mean(&settled)),
            series: outcomes.into_iter().next().map(|outcome| outcome.series).unwrap_or_default(),
        }
    }
}

impl Runs {
    /// Runs everything, with progress on standard error.
    pub(crate) fn make(wanted: Wanted) -> Self {
        let mut named = Vec::new();
        for case in &wanted.named {
            eprintln!("{:<5} {}", case.name, case.title);
            let summary = |&policy: &SteererName| {
                let seeds = wanted.seed..wanted.seed + wanted.repeats;
                (policy, Summary::of(seeds.map(|seed| run(case, policy, seed)).collect()))
            };
            named.push(wanted.policies.iter().map(summary).collect());
        }
        let mut suite: BTreeMap<SteererName, Vec<Random>> = BTreeMap::new();
        for index in 0..wanted.random {
            if index % 10 == 0 {
                eprintln!("suite {index} of {} random cases", wanted.random);
            }
            let seed = wanted.seed + index;
            let case = random_case(seed);
            for &policy in &wanted.policies {
                let outcome = run(&case, policy, seed);
                suite.entry(policy).or_default().push(Random {
                    average: outcome.average,
                    last_minute: outcome.max_over_mean,
                    timeouts: outcome.timeouts,
                });
            }
        }
        Self { wanted, named, suite }
    }
}

/// Quantiles of a part of the random cases.
pub(crate) fn quantiles(cases: &[Random], field: fn(&Random) -> f64, parts: [f64; 3]) -> [f64; 3] {
    let mut values: Vec<f64> = cases.iter().map(field).collect();
    values.sort_unstable_by(f64::total_cmp);
    parts.map(|part| quantile(&values, part))
}
