//! The footprint of a turn: what it touches, and so which turns commute.
//!
//! Two turns at one site may change places if none of them touches what the other one changes. That
//! is the independence relation of everything here: races are pairs that have it not, and
//! explorations try one order of those that have it.
//!
//! | touched | by | not in any order |
//! |---|---|---|
//! | rows of the value | VALUE reads them, SWAP writes them | a write, and a read or write of overlapping rows |
//! | the output of a skipped module | SKIP by a mediator without rows | two of them: the last one wins |
//! | a name on the blackboard | PUT writes it, GET reads it | a PUT, and a GET or PUT of that name |
//! | all names on the blackboard | a refused GET, whose fault names what is there | it, and any PUT |
//! | a barrier | arriving there | two arrivals at a barrier for two or more |
//! | the end of the run | STOP | two of them: the first one is named |
//! | circles of barriers, if there are two or more | an arrival closes one, END and STOP bear on it | an arrival, and any of these |
//! | everything | a turn in which the run failed | it, and any other turn, for those after it never happen |
//!
//! A SKIP and a read or swap of the module's input commute, and so do SKIPs of different rows,
//! which are joined in the order of the batch, and a SKIP for the whole batch with those for rows
//! of it, which are put in its place. Rows count as different only if every tensor of the value is
//! batched ([`Value::splits`]).
//!
//! What mediators share behind the engine's back (a cell in two closures, a file) is not seen, and
//! must not be there.
//!
//! [`Value::splits`]: crate::Value::splits

use crate::event::Event;
use crate::mediator::{Group, MediatorId};
use crate::observer::{Asked, Exchange, Moment, Outcome};
use crate::setup::Setup;
use crate::site::Site;
use crate::value::Value;

/// One thing that is touched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Access {
    Read(Span),
    Write(Span),
    /// A skip for the whole batch, by a mediator that has no rows of its own.
    Skip,
    Put(u32),
    Get(u32),
    /// A look at all names of the blackboard.
    Miss,
    Arrive(u32),
    /// An arrival that may close a circle of barriers.
    Gather,
    /// One mediator less that could come to a barrier.
    Leave,
    Stop,
}

impl Access {
    pub(super) fn conflicts(self, other: Self) -> bool {
        match (self, other) {
            (Self::Write(a), Self::Read(b) | Self::Write(b)) | (Self::Read(a), Self::Write(b)) => {
                a.overlaps(b)
            }
            (Self::Put(a), Self::Put(b) | Self::Get(b)) | (Self::Get(a), Self::Put(b)) => a == b,
            (Self::Put(_), Self::Miss) | (Self::Miss, Self::Put(_)) => true,
            (Self::Arrive(a), Self::Arrive(b)) => a == b,
            (Self::Skip, Self::Skip) => true,
            (Self::Stop, Self::Stop) => true,
            (Self::Gather, Self::Gather | Self::Leave | Self::Stop)
            | (Self::Leave | Self::Stop, Self::Gather)
            | (Self::Stop, Self::Leave)
            | (Self::Leave, Self::Stop) => true,
            _ => false,
        }
    }
}

/// Rows of the batch, from the first to before the last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const ALL: Self = Self {
        start: 0,
        end: u32::MAX,
    };

    const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What one turn touches.
#[derive(Clone, Debug, Default)]
pub(super) struct Footprint {
    /// Whose code ran: the mediator that was chosen, and those that it released from a barrier.
    pub(super) members: Vec<MediatorId>,
    accesses: Vec<Access>,
    /// Whether the run failed in this turn.
    pub(super) is_fatal: bool,
}

impl Footprint {
    pub(super) fn of(chosen: MediatorId) -> Self {
        Self {
            members: vec![chosen],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, member: MediatorId, access: Option<Access>) {
        if !self.members.contains(&member) {
            self.members.push(member);
        }
        if let Some(access) = access
            && !self.accesses.contains(&access)
        {
            self.accesses.push(access);
        }
    }

    /// Returns whether the turns must not change places.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let pairs = |access: &Access| {
            other
                .accesses
                .iter()
                .any(|theirs| access.conflicts(*theirs))
        };
        self.is_fatal
            || other.is_fatal
            || self
                .members
                .iter()
                .any(|member| other.members.contains(member))
            || self.accesses.iter().any(pairs)
    }
}

/// What has to be known of a run to tell what its exchanges touch.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// The rows of each mediator; `None` if it sees all of them.
    rows: Vec<Option<Span>>,
    /// Whether each mediator has no rows of its own.
    rowless: Vec<bool>,
    /// The declared barriers at which no mediator waits.
    open: Vec<String>,
    /// Whether mediators may wait for one another in a circle.
    pub(super) has_circles: bool,
    /// The names that were met, whatever of.
    names: Vec<String>,
    /// Whether mediators with different rows have nothing in common here.
    splits: bool,
}

impl Ground {
    /// Learns whose rows are which.
    pub(super) fn survey<V: Value>(&mut self, setup: &Setup<V>) {
        // A batch that cannot be counted does not start.
        let groups = setup.groups().unwrap_or_default();
        let end = |group: &Group| match group {
            Group::Rows(rows) => rows.end(),
            Group::Whole => 0,
        };
        let batch = groups.iter().map(end).max().unwrap_or(0);
        let rowless = groups.iter().map(|group| match group {
            Group::Rows(rows) => batch == 0 && rows.count == 0,
            Group::Whole => true,
        });
        self.rowless.clear();
        self.rowless.extend(rowless);
        let rows = groups.iter().map(|group| match group {
            // Who has no rows is given the whole of what is not batched.
            Group::Rows(rows) if !rows.is_whole(batch) && rows.count > 0 => Some(Span {
                start: rows.start,
                end: rows.end(),
            }),
            Group::Rows(_) | Group::Whole => None,
        });
        self.rows.clear();
        self.rows.extend(rows);
        let open = setup
            .barriers()
            .filter(|(_, participants)| *participants < 2);
        self.has_circles = setup.barriers().filter(|(_, count)| *count > 1).count() > 1;
        self.open.clear();
        self.open.extend(open.map(|(name, _)| name.to_owned()));
    }

    /// Returns what an exchange at a site touches.
    #[inline]
    pub(super) fn access<V>(&mut self, exchange: &Exchange<'_, V>) -> Option<Access> {
        let is_served = matches!(exchange.outcome, Outcome::Served(_));
        let is_here = |at: Site| exchange.asked() == Some(Asked::Site(at));
        match exchange.event() {
            Event::Value if is_served => Some(Access::Read(self.span(exchange.mediator))),
            // Also one that was refused, for its shape or because the batch is shared.
            Event::Swap if exchange.at.is_some_and(is_here) => {
                Some(Access::Write(self.span(exchange.mediator)))
            }
            Event::Skip if is_served && self.rowless[exchange.mediator.0 as usize] => {
                Some(Access::Skip)
            }
            Event::Put => Some(Access::Put(self.name(exchange.asked()))),
            Event::Get if is_served => Some(Access::Get(self.name(exchange.asked()))),
            Event::Get => Some(Access::Miss),
            Event::Stop => Some(Access::Stop),
            Event::End if self.has_circles => Some(Access::Leave),
            Event::Value
            | Event::Swap
            | Event::Skip
            | Event::Register
            | Event::Barrier
            // Losses of one site are summed in definition order.
            | Event::Backward
            | Event::End
            | Event::Exception => None,
        }
    }

    /// Returns the number of a barrier at which arrivals touch one another; nothing if no mediator
    /// waits there.
    pub(super) fn arrival(&mut self, barrier: &str) -> Option<u32> {
        let is_open = self.open.iter().any(|name| name == barrier);
        (!is_open).then(|| self.intern(barrier))
    }

    /// Learns what passes the site at hand.
    #[inline]
    pub(super) fn enter<V: Value>(&mut self, moment: &Moment<'_, V>) {
        if let Moment::Enter {
            value,
            batch,
            layout,
            ..
        } = moment
        {
            self.splits = self.rows.iter().any(Option::is_some) && value.splits(*batch, layout);
        }
    }

    pub(super) fn name_of(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    fn span(&self, id: MediatorId) -> Span {
        self.rows_of(id)
            .filter(|_| self.splits)
            .unwrap_or(Span::ALL)
    }

    fn rows_of(&self, id: MediatorId) -> Option<Span> {
        self.rows.get(id.0 as usize).copied().flatten()
    }

    fn name(&mut self, asked: Option<Asked<'_>>) -> u32 {
        match asked {
            Some(Asked::Name(name)) => self.intern(name),
            _ => unreachable!("the blackboard is asked by name"),
        }
    }

    fn intern(&mut self, name: &str) -> u32 {
        let found = self.names.iter().position(|known| known == name);
        let place = found.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        place as u32
    }
}
