//! A tensor's bytes become whole rows in the order that the sink wants.

use super::{ROW_GROUP, Sink, TensorSpec};
use crate::error::{Error, Result};
use crate::formats;

/// Cuts a tensor's bytes into groups of rows, whatever pieces they arrive in.
pub(super) struct Rows<'a, K> {
    pub sink: &'a mut K,
    /// For messages.
    name: &'a str,
    spec: TensorSpec,
    /// Head dimension, when rows come in half-split RoPE order.
    half_split: Option<usize>,
    row_bytes: usize,
    /// Bytes of the smallest group that can be handed on.
    unit: usize,
    next_row: usize,
    /// Less than a unit, left over from pieces before.
    pending: Vec<u8>,
    reordered: Vec<u8>,
}

impl<'a, K: Sink> Rows<'a, K> {
    pub fn new(sink: &'a mut K, name: &'a str, spec: TensorSpec, half_split: Option<usize>) -> Self {
        let row_bytes = spec.format.row_bytes(spec.columns);
        // Reordering needs whole heads, the sink whole groups.
        let rows = half_split.map_or(ROW_GROUP, |head| least_common_multiple(ROW_GROUP, head));
        // On wasm32 a hostile shape's unit may exceed `usize`; its tensor is then one unit, and grows as bytes arrive.
        let unit = row_bytes.saturating_mul(rows);
        let (pending, reordered) = (Vec::new(), Vec::new());
        Self { sink, name, spec, half_split, row_bytes, unit, next_row: 0, pending, reordered }
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        if !self.pending.is_empty() {
            let (head, tail) = bytes.split_at(bytes.len().min(self.unit - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = tail;
            if self.pending.len() < self.unit {
                return Ok(());
            }
            self.flush()?;
        }
        let (whole, left) = bytes.split_at(bytes.len() / self.unit * self.unit);
        if !whole.is_empty() {
            self.deliver(whole)?;
        }
        self.pending.extend_from_slice(left);
        Ok(())
    }

    /// Hands on the tensor's last rows.
    pub fn finish(&mut self) -> Result<()> {
        if self.pending.is_empty() { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        self.deliver(&pending)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    /// Checks whole rows, reorders them when necessary, and hands them on.
    fn deliver(&mut self, rows: &[u8]) -> Result<()> {
        let TensorSpec { role, format, .. } = self.spec;
        if !formats::all_finite(format, rows) {
            return Err(Error::NotFinite { tensor: self.name.to_owned() });
        }
        let first_row = self.next_row;
        self.next_row += rows.len() / self.row_bytes;
        match self.half_split {
            None => self.sink.write_rows(role, first_row, rows),
            Some(head_dim) => {
                // One unit at a time, so that reordering never holds more than the row buffer does.
                for (i, unit) in rows.chunks(self.unit).enumerate() {
                    to_neighbour_pairs(unit, self.row_bytes, head_dim, &mut self.reordered);
                    let row = first_row + i * (self.unit / self.row_bytes);
                    self.sink.write_rows(role, row, &self.reordered)?;
                }
                Ok(())
            }
        }
    }
}

/// Copies whole heads so that rows which rotate together, `i` and `i + head_dim / 2`, stand next to each other.
pub(super) fn to_neighbour_pairs(heads: &[u8], row_bytes: usize, head_dim: usize, out: &mut Vec<u8>) {
    out.clear();
    for head in heads.chunks_exact(row_bytes * head_dim) {
        let (first, second) = head.split_at(row_bytes * head_dim / 2);
        for (one, other) in first.chunks_exact(row_bytes).zip(second.chunks_exact(row_bytes)) {
            out.extend_from_slice(one);
            out.extend_from_slice(other);
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}
