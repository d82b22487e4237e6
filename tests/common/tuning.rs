//! Choosing among kernels: who is wrong drops out, and what is known is not measured again.

use std::time::Duration;

use pagellama::formats::Format;
use pagellama::gpu::kernel::{Extent, Kernel};
use pagellama::gpu::trial::{Shape, Trial};
use pagellama::gpu::tune::{Choice, Tuning};
use pagellama::ops::{self, AttentionKernel, Matmul, Matvec, Variants};
use web_time::Instant;

use super::kernels::open;

tests! {
    a_kernel_that_is_wrong_or_fails_drops_out,
    synthetic_weights_make_sense_in_every_format,
    what_was_measured_is_not_measured_again,
    without_room_to_measure_nothing_is_taken_for_granted_nor_kept,
}

const SHAPE: Shape = Shape { format: Format::Q4_1, rows: 200, columns: 96 };
const CHUNK: usize = 32;

async fn a_kernel_that_is_wrong_or_fails_drops_out() {
    let gpu = open().await;
    let trial = Trial::new(&gpu, SHAPE, CHUNK).await.unwrap();
    let ones = gpu.storage_with("ones", &vec![1_f32; CHUNK * 96]).unwrap();
    let fastest = async |candidates: &[&'static str], tokens: usize, until: Instant| {
        let chosen = trial.fastest("right", candidates, tokens, until, |name, weight, [step, x], finish| match name {
            "idle" => Ok(Vec::new()),
            "refused" => {
                let kernel = Kernel { name: "refused", parts: &["fn refused( {"], sizes: &[] };
                Ok(vec![gpu.dispatch(&kernel, &[x], Extent::fixed(1, 1), Extent::fixed(1, 1))])
            }
            "wrong" => ops::matmul(&gpu, Matmul::Registers, weight, step, &ones, finish),
            _ => ops::matmul(&gpu, Matmul::Registers, weight, step, x, finish),
        });
        chosen.await
    };
    let later = Instant::now() + Duration::from_secs(3600);
    for tokens in [1, CHUNK] {
        for drops_out in ["idle", "refused", "wrong"] {
            assert_eq!(fastest(&[drops_out, "right"], tokens, later).await, Ok(Some("right")), "{drops_out}");
        }
    }
    assert_eq!(fastest(&["first", "right"], 1, Instant::now()).await, Ok(None), "time is up: nothing was compared");
    assert_eq!(fastest(&["first"], 1, later).await.unwrap_err().code(), "gpu/error", "nothing to compare with");
    assert_eq!(gpu.check(), Ok(()), "none of it is the end of the device");
}

async fn synthetic_weights_make_sense_in_every_format() {
    let gpu = open().await;
    for format in Format::ALL {
        let columns = format.block_len().max(64);
        let trial = Trial::new(&gpu, Shape { format, rows: 70, columns }, CHUNK).await.unwrap();
        let later = Instant::now() + Duration::from_secs(3600);
        // Products that are not finite would be an error.
        let chosen = trial.fastest(Matvec::Rows, &[Matvec::Rows], 1, later, |matvec, weight, [step, x], finish| {
            ops::matvec(&gpu, matvec, weight, step, x, finish)
        });
        assert_eq!(chosen.await, Ok(Some(Matvec::Rows)), "{format:?}");
    }
}

async fn what_was_measured_is_not_measured_again() {
    let gpu = open().await;
    let tune = async |tuning: Tuning| gpu.tune(&tuning, SHAPE, CHUNK).await.unwrap();
    assert_eq!(tune(Tuning::Off).await, (Variants::for_adapter(&gpu), None));
    // As if the other ones had won, to see that they are taken from there.
    let (matvec, matmul) = (Matvec::Slices, Matmul::Shared);
    let fixed = Variants { matvec, matmul, ..Variants::for_adapter(&gpu) };
    let given = Variants { attention: AttentionKernel::Shared, ..fixed };
    assert_eq!(tune(Tuning::Fixed(given)).await, (given, None));

    let (variants, tuned) = tune(Tuning::On(Vec::new())).await;
    let tuned = tuned.expect("it was measured");
    assert!(variants.run_on(&gpu) && tuned.milliseconds > 0.0);
    assert_eq!((variants.matvec, variants.matmul), (tuned.choice.matvec, tuned.choice.matmul));
    let kept = Choice { matvec, matmul, ..tuned.choice };
    let elsewhere = Choice { place: "elsewhere".into(), ..kept.clone() };
    assert_eq!(tune(Tuning::On(vec![elsewhere, kept.clone()])).await, (fixed, None));
    let outdated = Choice { version: "another shader".into(), ..kept };
    let (_, tuned) = tune(Tuning::On(vec![outdated])).await;
    assert!(tuned.is_some_and(|tuned| tuned.choice.version != "another shader"));
}

async fn without_room_to_measure_nothing_is_taken_for_granted_nor_kept() {
    let gpu = open().await;
    // Even a group of its rows is more than a binding can have.
    let shape = Shape { format: Format::F32, rows: 64, columns: 1 << 25 };
    let (variants, tuned) = gpu.tune(&Tuning::On(Vec::new()), shape, CHUNK).await.unwrap();
    assert_eq!((variants.matvec, variants.matmul), (Matvec::untried(&gpu), Matmul::untried(&gpu)));
    assert_eq!(tuned, None);
}
