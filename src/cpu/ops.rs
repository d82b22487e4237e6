//! What is between the products: norm, rotation, gate. Their plain twins in `reference` have the same names.

use wide::f32x8;

/// Scales each row of `x` to a root mean square of one, then by `gains`. Shapes `[tokens][gains.len()]`.
pub(super) fn rmsnorm(x: &[f32], gains: &[f32], eps: f32, out: &mut [f32]) {
    for (row, out) in x.chunks_exact(gains.len()).zip(out.chunks_exact_mut(gains.len())) {
        // In double precision, in which no square is too large.
        let squares: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let scale = (squares / row.len() as f64 + f64::from(eps)).sqrt().recip();
        for ((out, x), gain) in out.iter_mut().zip(row).zip(gains) {
            *out = (f64::from(*x) * scale) as f32 * gain;
        }
    }
}

/// Turns each neighbouring pair of each head by its angle. `row` is one token's heads, `angles` of its position, one for each pair.
pub(super) fn rope(row: &mut [f32], angles: &[[f32; 2]]) {
    for head in row.chunks_exact_mut(2 * angles.len()) {
        for (pair, [cos, sin]) in head.as_chunks_mut::<2>().0.iter_mut().zip(angles) {
            let [a, b] = *pair;
            *pair = [a * cos - b * sin, a * sin + b * cos];
        }
    }
}

/// `silu(gate) * up`, where `silu(x) = x / (1 + e^-x)`.
pub(super) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let silu = |gate: [f32; 8], up: [f32; 8]| {
        let (gate, up) = (f32x8::new(gate), f32x8::new(up));
        (gate / (f32x8::ONE + (-gate).exp()) * up).to_array()
    };
    let (gates, gate_rest) = gate.as_chunks();
    let (ups, up_rest) = up[..gate.len()].as_chunks();
    let (outs, out_rest) = out[..gate.len()].as_chunks_mut();
    outs.iter_mut().zip(gates.iter().zip(ups)).for_each(|(out, (gate, up))| *out = silu(*gate, *up));
    for (out, (gate, up)) in out_rest.iter_mut().zip(gate_rest.iter().zip(up_rest)) {
        [*out, ..] = silu([*gate; 8], [*up; 8]);
    }
}

/// Adds `y` to `x`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}
