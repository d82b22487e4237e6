//! What a module is for a worker that computes rows of another one's model.

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::cpu::{Board, serve};

/// The module as it is compiled, which a helper starts from.
#[wasm_bindgen]
pub fn compiled() -> JsValue {
    wasm_bindgen::module()
}

/// Computes what is asked for on a board, a `SharedArrayBuffer`, as this one of so many helpers, until the model is gone.
#[wasm_bindgen]
pub fn help(board: JsValue, helper: usize, helpers: usize) {
    serve(&Board::on(&board, helpers), helper);
}

/// Refuses what this helper was asked for last, once [`help`] has ended in the middle of it: whoever asked need not wait in vain.
#[wasm_bindgen]
pub fn withdraw(board: JsValue, helper: usize, helpers: usize) {
    let board = Board::on(&board, helpers);
    board.answer(helper, -board.asked(helper));
}
