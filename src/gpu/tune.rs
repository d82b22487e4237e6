//! Which of the kernels for the same product is the fastest on this adapter: measured once, then known.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::Gpu;
use super::trial::{Shape, Trial};
use crate::error::Result;
use crate::ops::{self, AttentionKernel, Matmul, Matvec, Variants};

/// How long matrix-vector products are measured at most, and then matrix-matrix products, from the start on: all in all less
/// than two seconds, with what was begun before.
const MATVEC_LIMIT: Duration = Duration::from_millis(1000);
const MATMUL_LIMIT: Duration = Duration::from_millis(1600);

/// How the kernels are chosen that there are several of.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Tuning {
    /// Those that are likely to be the fastest on such an adapter.
    #[default]
    Off,
    /// These.
    Fixed(Variants),
    /// The fastest, as it was measured before if that is known, or is measured now.
    On(Vec<Choice>),
}

/// What was found to be the fastest as far as there was time to compare and measure, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Adapter and product.
    pub place: String,
    /// What it was measured with: SHA-256 of the shaders, and the browser, whose compiler changes. With another it is void.
    pub version: String,
    /// For single tokens.
    pub matvec: Matvec,
    /// For the tokens of a prompt.
    pub matmul: Matmul,
}

impl Choice {
    /// With what is not measured, as it is for the adapter.
    fn variants(&self, gpu: &Gpu) -> Variants {
        Variants { matvec: self.matvec, matmul: self.matmul, attention: AttentionKernel::for_adapter(gpu) }
    }
}

/// A choice that was made just now.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// To be kept.
    pub choice: Choice,
    /// How long that took.
    pub milliseconds: f64,
}

impl Gpu {
    /// The kernels to use for products of a shape, in chunks of at most `chunk` tokens, and the choice of them if it is new.
    ///
    /// Where time is up before any were compared, they are those that take nothing for granted; that is kept, too, for trying
    /// again would hold each load up. Where there is no room to measure, or nothing to compare with, they are the same, and are
    /// not to be kept.
    ///
    /// Errors: the first that the device reported.
    pub async fn tune(&self, tuning: &Tuning, shape: Shape, chunk: usize) -> Result<(Variants, Option<Tuned>)> {
        let known = match tuning {
            Tuning::Off => return Ok((Variants::for_adapter(self), None)),
            Tuning::Fixed(variants) => return Ok((*variants, None)),
            Tuning::On(known) => known,
        };
        let Shape { format, rows, columns } = shape;
        let place = format!("{}, {} {rows}x{columns}", self.adapter().name, format.name());
        let version = format!("{} {}", Variants::digest(format), browser());
        let kept = known.iter().find(|choice| choice.place == place && choice.version == version);
        let known = kept.map(|choice| choice.variants(self)).filter(|variants| variants.run_on(self));
        if let Some(variants) = known {
            return Ok((variants, None));
        }
        let started = Instant::now();
        let chosen = self.measure(shape, chunk, started).await;
        self.forget_uncompiled();
        self.check()?;
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let compared = chosen.is_ok();
        let (matvec, matmul) = chosen.unwrap_or_default();
        let matvec = matvec.unwrap_or_else(|| Matvec::untried(self));
        let matmul = matmul.unwrap_or_else(|| Matmul::untried(self));
        let choice = Choice { place, version, matvec, matmul };
        Ok((choice.variants(self), compared.then_some(Tuned { choice, milliseconds })))
    }

    /// The fastest kernels, as [`Trial::fastest`] tells. Errors: no room for the trial, and those of that.
    async fn measure(&self, shape: Shape, chunk: usize, started: Instant) -> Result<(Option<Matvec>, Option<Matmul>)> {
        let trial = Trial::new(self, shape, chunk).await?;
        let candidates = Matvec::candidates(self);
        let until = started + MATVEC_LIMIT;
        let matvec = trial.fastest(Matvec::Rows, &candidates, 1, until, |variant, weight, [step, x], finish| {
            ops::matvec(self, variant, weight, step, x, finish)
        });
        let matvec = matvec.await?;
        let (candidates, until) = (Matmul::candidates(self), started + MATMUL_LIMIT);
        let matmul =
            trial.fastest(Matmul::Registers, &candidates, chunk, until, |variant, weight, [step, x], finish| {
                ops::matmul(self, variant, weight, step, x, finish)
            });
        Ok((matvec, matmul.await?))
    }
}

/// The browser with its version, and nothing natively.
#[cfg(target_arch = "wasm32")]
fn browser() -> String {
    let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into()).unwrap_or_default();
    js_sys::Reflect::get(&navigator, &"userAgent".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}

#[cfg(not(target_arch = "wasm32"))]
fn browser() -> String {
    String::new()
}
