//! The three scenarios: which brokers there are, who comes, and when.

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    /// As in tables.
    pub(super) name: &'static str,
    /// What happens, for people.
    pub(super) what: &'static str,
    /// Cores of the three brokers.
    pub(super) cores: [f64; 3],
    /// What happens, in order. Before a [`Step::Join`] the last broker is not there.
    pub(super) steps: &'static [Step],
    /// Whether policies other than the product's own have something to show.
    pub(super) rivals: bool,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// That many clients of a kind connect, that many a second.
    Arrive(Kind, u32, u32),
    /// The brokers' CPU is read over that many seconds; nobody connects.
    Look(u64),
    /// The last broker starts and enters the configuration.
    Join,
    /// The operator has flows closed until no broker is more than a tenth above the mean.
    Rebalance,
}

/// Clients that do the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// In charts.
    pub(super) name: &'static str,
    /// Milliseconds between the messages of one client.
    pub(super) interval_ms: u64,
    /// Bytes of a message.
    pub(super) payload: usize,
}

const SIMILAR: Kind = Kind { name: "similar", interval_ms: 150, payload: 64 };
const SUBSCRIBER: Kind = Kind { name: "subscribers", interval_ms: 5_000, payload: 64 };
const LIGHT: Kind = Kind { name: "light", interval_ms: 200, payload: 64 };
const HEAVY: Kind = Kind { name: "heavy", interval_ms: 20, payload: 64 };

/// Cores of equal brokers: together as little as leaves the clients and the program more than half of two cores.
const EQUAL: [f64; 3] = [0.2, 0.2, 0.2];

const S3: [Step; 6] = [
    Step::Arrive(SUBSCRIBER, 300, 100),
    Step::Arrive(HEAVY, 60, 6),
    Step::Look(3),
    Step::Join,
    Step::Arrive(LIGHT, 200, 16),
    Step::Look(8),
];

/// All scenarios.
pub(super) const CASES: [Case; 4] = [
    Case {
        name: "S1",
        what: "unequal brokers (CPU 2:2:1), 500 similar clients",
        cores: [0.2, 0.2, 0.1],
        steps: &[Step::Arrive(SIMILAR, 500, 30), Step::Look(8)],
        rivals: true,
    },
    Case {
        name: "S2",
        what: "300 subscribers, 200 light publishers, a third broker joins, 60 heavy publishers",
        cores: EQUAL,
        steps: &[
            Step::Arrive(SUBSCRIBER, 300, 100),
            Step::Arrive(LIGHT, 200, 40),
            Step::Look(3),
            Step::Join,
            Step::Arrive(HEAVY, 60, 4),
            Step::Look(8),
        ],
        rivals: true,
    },
    Case {
        name: "S3",
        what: "300 subscribers, 60 heavy publishers, a third broker joins, 200 light publishers",
        cores: EQUAL,
        steps: &S3,
        rivals: true,
    },
    Case {
        name: "S3-rebalance",
        what: "as S3, then `balancer rebalance --to 10% --max 100% --force`",
        cores: EQUAL,
        steps: &[S3[0], S3[1], S3[2], S3[3], S3[4], Step::Look(2), Step::Rebalance, Step::Look(8)],
        rivals: false,
    },
];

impl Case {
    /// Whether the last broker comes later.
    pub(super) fn joins(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Join))
    }

    /// About how long it takes, seconds.
    pub(super) fn seconds(&self) -> f64 {
        const SET_UP: f64 = 4.0;
        let step = |step: &Step| match step {
            Step::Arrive(_, clients, per_second) => f64::from(*clients) / f64::from(*per_second),
            Step::Look(seconds) => 1.0 + *seconds as f64,
            Step::Join => 2.0,
            Step::Rebalance => 10.0,
        };
        SET_UP + self.steps.iter().map(step).sum::<f64>()
    }
}
