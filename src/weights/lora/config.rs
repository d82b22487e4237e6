//! `adapter_config.json`: how large an adapter's factors are and how much they count; refuses what would change more than that.
//!
//! Source: `LoraConfig` of PEFT, and its `get_pattern_key`.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::refused;
use crate::error::Result;

/// No adapter that was published comes near it.
const MOST_RANK: usize = 4096;

/// Settings that change what an adapter computes, besides all whose names start with `use_`: none of them may be set.
const UNKNOWN: [&str; 12] = [
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "velora_config",
];

/// Ways to start an adapter that take its first values off the model's own weights.
const CHANGE_THE_MODEL: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What of `LoraConfig` the factors' meaning depends on.
#[derive(Deserialize)]
pub(super) struct LoraConfig {
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    bias: Option<String>,
    init_lora_weights: Option<Value>,
    #[serde(default)]
    rank_pattern: Option<Patterns<usize>>,
    #[serde(default)]
    alpha_pattern: Option<Patterns<f64>>,
}

/// Rank and scale of one module's factors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub rank: usize,
    pub scale: f32,
}

impl LoraConfig {
    /// Reads and checks an `adapter_config.json`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let bad = |error: serde_json::Error| refused(format!("adapter_config.json: {error}"));
        let fields: Value = serde_json::from_slice(json).map_err(bad)?;
        let kind = fields.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            return Err(refused(format!("its kind is {:?}, and only LORA is read", kind.unwrap_or("unknown"))));
        }
        for (name, value) in fields.as_object().into_iter().flatten() {
            let counts = UNKNOWN.contains(&name.as_str()) || name.starts_with("use_") && name != "use_rslora";
            if counts && is_set(value) {
                return Err(refused(format!("{name} is not supported")));
            }
        }
        let config: Self = serde_json::from_slice(json).map_err(bad)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if self.bias.as_deref().is_some_and(|bias| bias != "none") {
            return Err(refused("biases are not supported"));
        }
        let start = self.init_lora_weights.as_ref().and_then(Value::as_str).unwrap_or_default();
        if CHANGE_THE_MODEL.iter().any(|name| start.starts_with(name)) {
            let detail = format!("it was begun with {start}, which changes the model too; PEFT can convert it");
            return Err(refused(detail));
        }
        self.rank_pattern.iter().try_for_each(Patterns::check)?;
        self.alpha_pattern.iter().try_for_each(Patterns::check)
    }

    /// The size of a module's factors.
    pub fn size(&self, module: &str) -> Result<Size> {
        let rank = self.rank_pattern.as_ref().and_then(|patterns| patterns.of(module)).unwrap_or(self.r);
        let alpha = self.alpha_pattern.as_ref().and_then(|patterns| patterns.of(module)).unwrap_or(self.lora_alpha);
        if rank == 0 || rank > MOST_RANK {
            return Err(refused(format!("{module} has rank {rank}, and 1 to {MOST_RANK} are supported")));
        }
        let divisor = if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (alpha / divisor) as f32;
        if scale.is_finite() { Ok(Size { rank, scale }) } else { Err(refused(format!("lora_alpha is {alpha}"))) }
    }
}

/// Whether a setting is anything but absent, off or empty.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        _ => true,
    }
}

/// Values for some modules, in the order of the file: the first that fits counts.
struct Patterns<T>(Vec<(String, T)>);

impl<T: Copy> Patterns<T> {
    /// Refuses what means more as a regular expression than as a name.
    fn check(&self) -> Result<()> {
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        match self.0.iter().find(|(pattern, _)| !plain(pattern.strip_prefix('^').unwrap_or(pattern))) {
            Some((pattern, _)) => Err(refused(format!("the pattern {pattern:?} is not a module's name"))),
            None => Ok(()),
        }
    }

    /// PEFT matches `(.*\.)?(PATTERN)$` from a module's name on: the name, or its end from a dot on; `^` asks for all of it.
    fn of(&self, module: &str) -> Option<T> {
        let fits = |pattern: &str| match pattern.strip_prefix('^') {
            Some(whole) => module == whole,
            None => module.strip_suffix(pattern).is_some_and(|before| before.is_empty() || before.ends_with('.')),
        };
        self.0.iter().find(|(pattern, _)| fits(pattern)).map(|(_, value)| *value)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(PatternsVisitor(PhantomData))
    }
}

struct PatternsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PatternsVisitor<T> {
    type Value = Patterns<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of patterns")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Patterns<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Patterns(entries))
    }
}
