//! The sampler against a naive account of the same steps, and against probabilities worked out by hand.

use crate::common::Random;
use pagellama::sampling::Sampling;
use pagellama::sampling::sampler::Sampler;
use pagellama::weights::loader::{TextFiles, VocabularyFile};
use serde_json::{Value, json};

/// Temperature 1 and no filter.
fn plain() -> Sampling {
    Sampling { temperature: 1.0, seed: 11, ..Sampling::default() }
}

/// How often each token is chosen, at positions `0..draws`.
fn frequencies(sampling: &Sampling, logits: &[f32], history: &[u32], draws: usize) -> Vec<f64> {
    let sampler = Sampler::new(sampling.clone()).unwrap();
    let mut counts = vec![0.0; logits.len()];
    for position in 0..draws {
        let id = sampler.sample(&mut logits.to_vec(), history, position).unwrap();
        counts[id as usize] += 1.0 / draws as f64;
    }
    counts
}

/// What the steps leave of each token's probability, one step after the other and each on all tokens.
fn probabilities(sampling: &Sampling, logits: &[f32], history: &[u32]) -> Vec<f64> {
    let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    for (id, score) in scores.iter_mut().enumerate() {
        if history.contains(&(id as u32)) {
            let penalty = f64::from(sampling.repetition_penalty);
            *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
        }
        *score /= f64::from(sampling.temperature);
    }
    let mut kept = softmax(&scores);
    if let Some(k) = sampling.top_k.filter(|&k| k > 0) {
        let more_likely = |p: f64| kept.iter().filter(|other| **other > p).count();
        kept = kept.iter().map(|&p| if more_likely(p) < k as usize { p } else { 0.0 }).collect();
        kept = normalised(&kept);
    }
    if sampling.top_p < 1.0 {
        let mass_before = |id: usize| -> f64 {
            let before = |other: &usize| (kept[id], other) < (kept[*other], &id);
            (0..kept.len()).filter(before).map(|other| kept[other]).sum()
        };
        let nucleus = (0..kept.len()).map(|id| mass_before(id) < f64::from(sampling.top_p) || mass_before(id) == 0.0);
        kept =
            normalised(&kept.iter().zip(nucleus).map(|(&p, inside)| if inside { p } else { 0.0 }).collect::<Vec<_>>());
    }
    let best = kept.iter().copied().fold(0.0, f64::max);
    let floor = f64::from(sampling.min_p) * best;
    normalised(&kept.iter().map(|&p| if p >= floor { p } else { 0.0 }).collect::<Vec<_>>())
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    normalised(&scores.iter().map(|score| (score - best).exp()).collect::<Vec<_>>())
}

fn normalised(weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Fails where a frequency is further from its probability than chance allows: five standard deviations, and never at
/// all for a token that the filters drop.
#[track_caller]
fn assert_drawn_from(probabilities: &[f64], frequencies: &[f64], draws: usize, what: &str) {
    for (id, (&p, &seen)) in probabilities.iter().zip(frequencies).enumerate() {
        let allowed = 5.0 * (p * (1.0 - p) / draws as f64).sqrt();
        // A token that is drawn less than once on average may be drawn once.
        let allowed = if p > 0.0 { allowed.max(2.0 / draws as f64) } else { 0.0 };
        assert!((seen - p).abs() <= allowed, "{what}: token {id} has probability {p} and was drawn at {seen}");
    }
}

#[test]
fn every_mix_of_filters_draws_as_the_naive_account_says() {
    let mut random = Random::new(3);
    let choose = |random: &mut Random, values: &[f32]| values[random.below(values.len())];
    for round in 0..60 {
        let logits: Vec<f32> = (0..37).map(|_| random.unit() * 4.0).collect();
        let history: Vec<u32> = (0..random.below(12)).map(|_| random.below(40) as u32).collect();
        let sampling = Sampling {
            repetition_penalty: choose(&mut random, &[1.0, 1.3, 0.7, 3.0]),
            temperature: choose(&mut random, &[0.3, 1.0, 1.7]),
            top_k: [None, Some(0), Some(1), Some(5), Some(20), Some(500)][random.below(6)],
            top_p: choose(&mut random, &[1.0, 0.95, 0.6, 0.1, 0.0]),
            min_p: choose(&mut random, &[0.0, 0.05, 0.4, 1.0]),
            seed: round,
        };
        let expected = probabilities(&sampling, &logits, &history);
        let seen = frequencies(&sampling, &logits, &history, 4000);
        assert_drawn_from(&expected, &seen, 4000, &format!("{sampling:?}"));
    }
}

#[test]
fn without_filters_draws_follow_the_softmax() {
    let logits: Vec<f32> = [0.5_f32, 0.25, 0.15, 0.1].map(f32::ln).to_vec();
    let draws = 100_000;
    let seen = frequencies(&plain(), &logits, &[], draws);
    assert_drawn_from(&[0.5, 0.25, 0.15, 0.1], &seen, draws, "temperature 1");
    let halved = Sampling { temperature: 2.0, ..plain() };
    let root: f64 = [0.5_f64, 0.25, 0.15, 0.1].map(f64::sqrt).iter().sum();
    let expected = [0.5_f64, 0.25, 0.15, 0.1].map(|p| p.sqrt() / root);
    assert_drawn_from(&expected, &frequencies(&halved, &logits, &[], draws), draws, "temperature 2");
}

/// The ids that are ever chosen from probabilities of 0.5, 0.25, 0.15 and 0.1.
fn support(sampling: Sampling) -> Vec<u32> {
    let logits: Vec<f32> = [0.5_f32, 0.25, 0.15, 0.1].map(f32::ln).to_vec();
    let seen = frequencies(&sampling, &logits, &[], 3000);
    (0..4).filter(|&id| seen[id as usize] > 0.0).collect()
}

#[test]
fn each_filter_keeps_what_it_should() {
    assert_eq!(support(plain()), [0, 1, 2, 3]);
    assert_eq!(support(Sampling { top_k: Some(3), ..plain() }), [0, 1, 2]);
    assert_eq!(support(Sampling { top_p: 0.74, ..plain() }), [0, 1]);
    assert_eq!(support(Sampling { top_p: 0.76, ..plain() }), [0, 1, 2]);
    assert_eq!(support(Sampling { top_p: 0.0, ..plain() }), [0], "the most likely token always stays");
    assert_eq!(support(Sampling { min_p: 0.29, ..plain() }), [0, 1, 2]);
    assert_eq!(support(Sampling { min_p: 0.31, ..plain() }), [0, 1]);
}

#[test]
fn filters_act_in_their_order() {
    // After top-k the two have 2/3 and 1/3, so the first alone reaches 0.6; before, it has 0.5.
    assert_eq!(support(Sampling { top_k: Some(2), top_p: 0.6, ..plain() }), [0]);
    // At temperature 2 the probabilities are 0.37, 0.26, 0.20 and 0.17.
    assert_eq!(support(Sampling { top_p: 0.65, ..plain() }), [0, 1]);
    assert_eq!(support(Sampling { top_p: 0.65, temperature: 2.0, ..plain() }), [0, 1, 2]);
    assert_eq!(support(Sampling { min_p: 0.5, temperature: 2.0, ..plain() }), [0, 1, 2]);
    // The penalty comes first: it makes the most likely token the least likely one before top-k looks.
    let logits = [2.0, 1.0, 0.5, -1.0];
    let sampling = Sampling { repetition_penalty: 10.0, top_k: Some(1), ..plain() };
    assert_eq!(Sampler::new(sampling).unwrap().sample(&mut logits.to_vec(), &[0], 0).unwrap(), 1);
}

#[test]
fn the_penalty_counts_a_token_once_and_pulls_both_signs_down() {
    let sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..Sampling::default() }).unwrap();
    let mut logits = [4.0, -1.0, 3.0, 0.0, -3.0];
    assert_eq!(sampler.sample(&mut logits, &[0, 0, 0, 1, 3, 9999], 0).unwrap(), 2);
    assert_eq!(logits, [2.0, -2.0, 3.0, 0.0, -3.0]);
    let mut huge = [f32::MIN, f32::MIN];
    let sampler = Sampler::new(Sampling { repetition_penalty: 2.0, ..plain() }).unwrap();
    assert!(sampler.sample(&mut huge, &[0, 1], 0).unwrap() < 2);
}

#[test]
fn ties_go_to_the_lowest_id_where_one_must_be_chosen() {
    let tied = [1.0, 3.0, 3.0, 3.0, 0.0];
    let greedy = Sampler::new(Sampling::default()).unwrap();
    assert_eq!(greedy.sample(&mut tied.to_vec(), &[], 7).unwrap(), 1);
    let chosen = |sampling: Sampling| -> Vec<usize> {
        let seen = frequencies(&sampling, &tied, &[], 2000);
        (0..tied.len()).filter(|&id| seen[id] > 0.0).collect()
    };
    assert_eq!(chosen(Sampling { top_p: 0.1, ..plain() }), [1]);
    assert_eq!(chosen(Sampling { top_k: Some(2), ..plain() }), [1, 2, 3], "top-k keeps what equals its last");
    assert_eq!(chosen(Sampling { min_p: 1.0, ..plain() }), [1, 2, 3]);
}

#[test]
fn a_choice_depends_on_seed_and_position_alone() {
    let logits = [0.0; 1000];
    let draw = |seed, position| {
        let sampler = Sampler::new(Sampling { seed, ..plain() }).unwrap();
        sampler.sample(&mut logits.to_vec(), &[], position).unwrap()
    };
    let forwards: Vec<u32> = (0..50).map(|position| draw(5, position)).collect();
    let backwards: Vec<u32> = (0..50).rev().map(|position| draw(5, position)).collect();
    assert!(forwards.iter().eq(backwards.iter().rev()));
    let other: Vec<u32> = (0..50).map(|position| draw(6, position)).collect();
    let same = |a: &[u32], b: &[u32]| a.iter().zip(b).filter(|(a, b)| a == b).count();
    assert!(same(&forwards, &other) < 5, "another seed is another draw");
    assert!(same(&forwards[1..], &forwards) < 5, "another position is another draw");
    assert!(same(&forwards[1..], &other) < 5, "neighbouring seeds are not shifted copies");
}

#[test]
fn meaningless_values_are_refused() {
    let good = Sampling::default();
    for (name, bad) in [
        ("temperature", Sampling { temperature: -0.1, ..good.clone() }),
        ("temperature", Sampling { temperature: f32::NAN, ..good.clone() }),
        ("temperature", Sampling { temperature: f32::INFINITY, ..good.clone() }),
        ("top_p", Sampling { top_p: 1.1, ..good.clone() }),
        ("top_p", Sampling { top_p: f32::NAN, ..good.clone() }),
        ("min_p", Sampling { min_p: -1.0, ..good.clone() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..good.clone() }),
        ("repetition_penalty", Sampling { repetition_penalty: f32::NAN, ..good.clone() }),
    ] {
        let error = bad.check().unwrap_err();
        assert_eq!(error.code(), "generate/bad-request");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn logits_that_are_not_numbers_are_refused() {
    for sampling in [Sampling::default(), plain()] {
        let sampler = Sampler::new(sampling).unwrap();
        for mut logits in [vec![], vec![0.0, f32::NAN], vec![f32::INFINITY, 0.0], vec![0.0, f32::NEG_INFINITY]] {
            assert_eq!(sampler.sample(&mut logits, &[], 0).unwrap_err().code(), "gpu/not-finite");
        }
    }
}

/// The defaults of a folder with this `generation_config.json`.
fn defaults(generation_config: Option<Value>) -> pagellama::Result<Sampling> {
    Sampling::defaults(&TextFiles::HuggingFace {
        vocabulary: VocabularyFile::Json(Vec::new()),
        tokenizer_config: None,
        generation_config: generation_config.map(|json| serde_json::to_vec(&json).unwrap()),
        config: Vec::new(),
        chat_template: None,
    })
}

#[test]
fn a_folder_s_defaults_are_read_as_transformers_reads_them() {
    assert_eq!(defaults(None).unwrap(), Sampling::default());
    assert_eq!(defaults(Some(json!({ "temperature": 0.6, "top_p": 0.9 }))).unwrap(), Sampling::default());
    assert_eq!(
        defaults(Some(json!({ "do_sample": true }))).unwrap(),
        Sampling { temperature: 1.0, top_k: Some(50), ..Sampling::default() }
    );
    assert_eq!(
        defaults(Some(json!({
            "do_sample": true, "temperature": 0.5, "top_p": 0.75, "top_k": 0, "min_p": 0.25, "repetition_penalty": 1.25
        })))
        .unwrap(),
        Sampling { temperature: 0.5, top_k: None, top_p: 0.75, min_p: 0.25, repetition_penalty: 1.25, seed: 0 }
    );
    for bad in [json!({ "do_sample": true, "temperature": -1 }), json!({ "repetition_penalty": 0 })] {
        assert_eq!(defaults(Some(bad)).unwrap_err().code(), "weights/bad-config");
    }
}

#[test]
fn a_request_names_only_what_it_changes() {
    let sampling: Sampling = serde_json::from_value(json!({ "temperature": 0.5, "seed": 7 })).unwrap();
    assert_eq!(sampling, Sampling { temperature: 0.5, seed: 7, ..Sampling::default() });
}
