//! In a browser, helpers are workers with memories of their own, and the board is memory that all of them share.

use js_sys::{Array, Int32Array, SharedArrayBuffer, Uint8Array};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::Worker;

use super::order::{Order, WORDS};
use crate::error::{Error, Result};

/// How often a word is looked at before its change is slept for: some 3 ms, longer than it takes to get from one product to the next.
const LOOKS: u32 = 50_000;
/// How long a single wait takes at most. Milliseconds.
const WAIT: f64 = 1000.0;

/// Numbers of each helper on the board: the turn, the order, and the answer.
const DESK: usize = 16;
const ANSWER: usize = DESK - 1;

#[wasm_bindgen(module = "/src/cpu/team/board.js")]
extern "C" {
    fn watch(words: &Int32Array, place: u32, value: i32, looks: u32, milliseconds: f64) -> i32;
    fn tell(words: &Int32Array, place: u32, value: i32);
    fn share(bytes: u32) -> Option<SharedArrayBuffer>;
}

/// Workers that wait for a board (`www/helper.js`), to compute beside the one that runs the model.
#[derive(Debug, Clone, Default)]
pub struct Helpers(Vec<Worker>);

impl Helpers {
    /// These workers, each of which takes boards as messages.
    pub fn workers(workers: Vec<Worker>) -> Self {
        Self(workers)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// What all of a team see.
pub(crate) struct Board {
    words: Int32Array,
    bytes: Uint8Array,
}

impl Board {
    /// A board of so many bytes that these helpers look at from now on.
    ///
    /// Errors: `OutOfMemory`, `HelperLost`.
    pub fn shown_to(helpers: &Helpers, bytes: usize) -> Result<Self> {
        let words = size_of::<i32>() * DESK * helpers.count();
        let size = u32::try_from(words.saturating_add(bytes)).ok();
        let full = || Error::OutOfMemory { detail: "activations that threads share".to_owned() };
        let buffer = size.and_then(share).ok_or_else(full)?;
        let board = Self::on(&buffer, helpers.count());
        for (helper, worker) in helpers.0.iter().enumerate() {
            let message = Array::of3(&buffer, &(helper as u32).into(), &(helpers.count() as u32).into());
            if worker.post_message(&message).is_err() {
                (0..helper).for_each(|started| board.ask(started, 1, Order::Leave.words()));
                return Err(Error::HelperLost);
            }
        }
        Ok(board)
    }

    /// The board in a piece of memory, of so many helpers.
    pub fn on(buffer: &JsValue, helpers: usize) -> Self {
        let words = (DESK * helpers) as u32;
        Self {
            words: Int32Array::new_with_byte_offset_and_length(buffer, 0, words),
            bytes: Uint8Array::new_with_byte_offset(buffer, words * size_of::<i32>() as u32),
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.length() as usize
    }

    /// Writes at a place, as far as there is room.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        if at + bytes.len() <= self.len() {
            self.part(at, bytes.len()).copy_from(bytes);
        }
    }

    /// Reads from a place, as far as it goes.
    pub fn get(&self, at: usize, bytes: &mut [u8]) {
        if at + bytes.len() <= self.len() {
            self.part(at, bytes.len()).copy_to(bytes);
        }
    }

    fn part(&self, at: usize, length: usize) -> Uint8Array {
        self.bytes.subarray(at as u32, (at + length) as u32)
    }

    pub fn ask(&self, helper: usize, turn: i32, order: [i32; WORDS]) {
        let desk = (helper * DESK) as u32;
        self.words.subarray(desk + 1, desk + 1 + WORDS as u32).copy_from(&order);
        tell(&self.words, desk, turn);
    }

    /// The turn of what a helper was asked for last.
    pub fn asked(&self, helper: usize) -> i32 {
        self.look((helper * DESK) as u32)
    }

    pub fn answer(&self, helper: usize, answer: i32) {
        tell(&self.words, (helper * DESK + ANSWER) as u32, answer);
    }

    /// Waits for another turn than this one, and what is asked for.
    pub fn wait_for_order(&self, helper: usize, turn: i32) -> (i32, [i32; WORDS]) {
        let desk = (helper * DESK) as u32;
        loop {
            let next = watch(&self.words, desk, turn, LOOKS, WAIT);
            if next != turn {
                let mut order = [0; WORDS];
                self.words.subarray(desk + 1, desk + 1 + WORDS as u32).copy_to(&mut order);
                return (next, order);
            }
        }
    }

    /// What a helper answers at this turn, or none after a while.
    pub fn wait_for_answer(&self, helper: usize, turn: i32) -> Option<i32> {
        let place = (helper * DESK + ANSWER) as u32;
        let mut answer = self.look(place);
        if answer.abs() != turn {
            answer = watch(&self.words, place, answer, LOOKS, WAIT);
        }
        (answer.abs() == turn).then_some(answer)
    }

    fn look(&self, place: u32) -> i32 {
        watch(&self.words, place, 0, 1, 0.0)
    }
}
