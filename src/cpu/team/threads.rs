//! Natively, helpers are threads, and the board is memory behind a lock.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::helper::serve;
use super::order::{Order, WORDS};
use crate::cpu::zeros;
use crate::error::{Error, Result};

/// How long a single wait for an answer takes at most.
const WAIT: Duration = Duration::from_secs(1);

/// How often news is looked for before it is slept for: for longer than it takes to get from one product to the next.
const LOOKS: usize = 5_000;

/// How many threads are to compute beside the one that runs the model.
#[derive(Debug, Clone, Default)]
pub struct Helpers(usize);

impl Helpers {
    /// So many threads beside the caller's own.
    pub fn threads(count: usize) -> Self {
        Self(count)
    }

    pub(super) fn count(&self) -> usize {
        self.0
    }
}

/// What all of a team see.
#[derive(Clone)]
pub(crate) struct Board(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How often orders and answers have changed.
    changes: AtomicUsize,
}

struct State {
    desks: Vec<Desk>,
    bytes: Vec<u8>,
}

/// What is asked of a helper, and its answer.
#[derive(Clone, Copy, Default)]
struct Desk {
    turn: i32,
    order: [i32; WORDS],
    answer: i32,
}

impl Board {
    /// A board of so many bytes that these helpers look at from now on.
    ///
    /// Errors: `OutOfMemory`, `HelperLost` when a thread cannot be started.
    pub fn shown_to(helpers: &Helpers, bytes: usize) -> Result<Self> {
        let state = State { desks: vec![Desk::default(); helpers.count()], bytes: zeros("activations", bytes)? };
        let (state, changed, changes) = (Mutex::new(state), Condvar::new(), AtomicUsize::new(0));
        let board = Self(Arc::new(Shared { state, changed, changes }));
        for helper in 0..helpers.count() {
            let (thread, seen) = (thread::Builder::new().name(format!("rows {helper}")), board.clone());
            if thread.spawn(move || serve(&seen, helper)).is_err() {
                (0..helper).for_each(|started| board.ask(started, 1, Order::Leave.words()));
                return Err(Error::HelperLost);
            }
        }
        Ok(board)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A helper that panicked gives no answer, which is told.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that an order or an answer has changed.
    fn tell(&self) {
        self.0.changes.fetch_add(1, Ordering::Release);
        self.0.changed.notify_all();
    }

    /// Looks for news as long as they are likely to come soon, as waking a thread takes tens of microseconds.
    fn look_for_news(&self, none: impl Fn(&mut State) -> bool) {
        let mut seen = None;
        for _ in 0..LOOKS {
            let changes = self.0.changes.load(Ordering::Acquire);
            if seen.replace(changes) != Some(changes) && !none(&mut self.state()) {
                return;
            }
            spin_loop();
        }
    }

    pub fn len(&self) -> usize {
        self.state().bytes.len()
    }

    /// Writes at a place, as far as there is room.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.state().bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Reads from a place, as far as it goes.
    pub fn get(&self, at: usize, bytes: &mut [u8]) {
        if let Some(place) = self.state().bytes.get(at..at + bytes.len()) {
            bytes.copy_from_slice(place);
        }
    }

    pub fn ask(&self, helper: usize, turn: i32, order: [i32; WORDS]) {
        let desk = Desk { turn, order, answer: 0 };
        if let Some(place) = self.state().desks.get_mut(helper) {
            *place = desk;
        }
        self.tell();
    }

    /// The turn of what a helper was asked for last.
    pub fn asked(&self, helper: usize) -> i32 {
        self.state().desks.get(helper).map_or(0, |desk| desk.turn)
    }

    pub fn answer(&self, helper: usize, answer: i32) {
        if let Some(desk) = self.state().desks.get_mut(helper) {
            desk.answer = answer;
        }
        self.tell();
    }

    /// Waits for another turn than this one, and what is asked for.
    pub fn wait_for_order(&self, helper: usize, turn: i32) -> (i32, [i32; WORDS]) {
        let same = |state: &mut State| state.desks.get(helper).is_some_and(|desk| desk.turn == turn);
        self.look_for_news(same);
        let state = self.0.changed.wait_while(self.state(), same).unwrap_or_else(PoisonError::into_inner);
        let Desk { turn, order, .. } = state.desks.get(helper).copied().unwrap_or_default();
        (turn, order)
    }

    /// What a helper answers at this turn, or none after a while.
    pub fn wait_for_answer(&self, helper: usize, turn: i32) -> Option<i32> {
        let answer = |state: &State| state.desks.get(helper).map_or(0, |desk| desk.answer);
        let none = |state: &mut State| answer(state).abs() != turn;
        self.look_for_news(none);
        let waited = self.0.changed.wait_timeout_while(self.state(), WAIT, none);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then(|| answer(&state))
    }
}
