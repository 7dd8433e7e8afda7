//! The numbers of claims that are measured, and what their figures are called and may be.

use vmdisk_e2e::figures::Figure;

/// The most writes that a claim is worth.
const WRITES: Option<f64> = Some(9.0);
/// How many times the floor a claim may take.
const TIMES: Option<f64> = Some(1.3);

/// What was measured of some claims, in seconds, and writes for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) bound: f64,
    pub(crate) writes: f64,
    pub(crate) floor: f64,
}

/// Names, targets and references of the figures of some claims.
pub(crate) struct Rows {
    bound: Row,
    writes: Row,
    floor: Row,
    times: Row,
}

/// The name for machines, the one for people, the target, and what the reference needs.
struct Row(&'static str, &'static str, Option<f64>, Option<f64>);

impl Rows {
    /// The figures.
    pub(crate) fn figures(&self, measured: Measured) -> Vec<Figure> {
        let Measured { bound, writes, floor } = measured;
        let figure = |row: &Row, measured, unit| Figure::new(row.0, row.1, measured, unit, row.2, row.3);
        vec![
            figure(&self.bound, bound, "s"),
            figure(&self.floor, floor, "s"),
            figure(&self.times, bound / floor, "times"),
            figure(&self.writes, writes, ""),
        ]
    }
}

/// Claims that are created at once.
pub(crate) struct Burst {
    pub(crate) claims: usize,
    /// Takes many minutes, and is left out unless it is asked for.
    pub(crate) large: bool,
    pub(crate) rows: Rows,
}

pub(crate) const SINGLE: Rows = Rows {
    bound: Row("single_bound_s", "one claim: Bound, median of 10", Some(2.5), Some(3.4)),
    floor: Row("single_floor_s", "one claim: the floor, median of 10", None, None),
    times: Row("single_times", "one claim: Bound / floor", TIMES, None),
    writes: Row("single_writes", "one claim: API writes, most of 10", WRITES, Some(16.0)),
};

pub(crate) const BURSTS: [Burst; 3] = [
    Burst {
        claims: 30,
        large: false,
        rows: Rows {
            bound: Row("burst_30_bound_s", "30 claims at once: the last Bound", Some(20.0), Some(37.0)),
            floor: Row("burst_30_floor_s", "30 claims at once: the floor", None, None),
            times: Row("burst_30_times", "30 claims at once: Bound / floor", TIMES, None),
            writes: Row("burst_30_writes", "30 claims at once: API writes each", WRITES, Some(10.0)),
        },
    },
    Burst {
        claims: 200,
        large: false,
        rows: Rows {
            bound: Row("burst_200_bound_s", "200 claims at once: the last Bound", None, None),
            floor: Row("burst_200_floor_s", "200 claims at once: the floor", None, None),
            times: Row("burst_200_times", "200 claims at once: Bound / floor", TIMES, None),
            writes: Row("burst_200_writes", "200 claims at once: API writes each", WRITES, None),
        },
    },
    Burst {
        claims: 1_000,
        large: true,
        rows: Rows {
            bound: Row("burst_1000_bound_s", "1,000 claims at once: the last Bound", None, None),
            floor: Row("burst_1000_floor_s", "1,000 claims at once: the floor", None, None),
            times: Row("burst_1000_times", "1,000 claims at once: Bound / floor", TIMES, None),
            writes: Row("burst_1000_writes", "1,000 claims at once: API writes each", WRITES, None),
        },
    },
];
