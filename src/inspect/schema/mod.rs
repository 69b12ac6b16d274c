//! JSON Schema of a tool's arguments (2020-12 unless it names another; MCP 2025-11-25, server/tools). Never fetches a reference, never
//! runs longer than its bounds, never changes an argument.

use bounds::Weight;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

mod bounds;
#[cfg(test)]
mod tests;

/// How often a pattern with look-around may step back before the argument counts as not fitting.
const STEPS_BACK: usize = 50_000;
/// Size of one compiled pattern, and of all patterns of a schema together, in bytes.
const PATTERN: usize = 1 << 20;
const PATTERNS: usize = 16 << 20;
/// Comparisons, for each byte of the arguments, that take a moment only.
const LIGHT: u64 = 4_000_000;
/// Comparisons of values, and bytes of text for each pattern, that one call may cost: some seconds.
const HEAVIEST: u64 = 200_000_000;
/// Of what a rule says about a value, so much is told.
const RULE: usize = 200;

/// A schema that calls can be held against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    weight: Weight,
}

/// A schema that nothing can be held against: a call of its tool is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its input schema cannot be used: {0}")]
pub struct Unusable(String);

/// Where arguments do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// JSON pointer (RFC 6901) into the arguments; empty for the arguments as a whole.
    pub pointer: String,
    /// What the schema asks there; holds no value of the arguments.
    pub rule: String,
}

impl Misfit {
    /// Nobody knows whether they fit: it takes too long to compare.
    pub fn late() -> Self {
        Self { pointer: String::new(), rule: "they take too long to compare with it".to_owned() }
    }
}

impl Schema {
    /// Prepares a schema.
    ///
    /// # Errors
    /// [`Unusable`] for what is no schema, names something outside itself, or is over the bounds.
    pub fn new(schema: &Value) -> Result<Self, Unusable> {
        let weight = bounds::check(schema).map_err(|why| Unusable(why.to_owned()))?;
        let size = PATTERN.min(PATTERNS / weight.patterns.max(1));
        let newest = compile(schema, None, size);
        // Servers older than the rule "2020-12 unless it names another" write draft 7 and do not say so.
        let compiled = match newest {
            Err(_) if schema.get("$schema").is_none() => compile(schema, Some(Draft::Draft7), size).or(newest),
            compiled => compiled,
        };
        compiled.map(|validator| Self { validator, weight }).map_err(|fault| Unusable(cut(&fault.to_string())))
    }

    /// Whether holding so many bytes of arguments against it surely takes no more than a moment. A pattern may take long over a long text,
    /// however well it is bounded.
    pub fn is_light(&self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.weight.patterns == 0 && self.weight.work.saturating_mul(bytes) <= LIGHT
    }

    /// Holds arguments against the schema; absent arguments are an empty object. `arguments` is JSON that was parsed strictly before.
    ///
    /// # Errors
    /// The first [`Misfit`].
    pub fn check(&self, arguments: Option<&[u8]>) -> Result<(), Misfit> {
        let value: Value = match arguments {
            Some(raw) => {
                serde_json::from_slice(raw).map_err(|_| Misfit { pointer: String::new(), rule: "be readable JSON".into() })?
            }
            None => Value::Object(serde_json::Map::new()),
        };
        if self.cost(&value, arguments.map_or(0, <[u8]>::len)) > HEAVIEST {
            return Err(Misfit::late());
        }
        self.validator.validate(&value).map_err(|fault| misfit(&fault))
    }

    fn cost(&self, value: &Value, bytes: usize) -> u64 {
        let of = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let text = of(self.weight.patterns).saturating_mul(of(bytes));
        self.weight.work.saturating_mul(of(values(value))).max(text)
    }
}

/// How many values a value is made of.
fn values(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        _ => 1,
    }
}

fn compile(schema: &Value, draft: Option<Draft>, size: usize) -> Result<Validator, ValidationError<'static>> {
    // Patterns without look-around go to an engine that is linear in the text; the others are bounded in steps.
    let patterns = PatternOptions::fancy_regex().backtrack_limit(STEPS_BACK).size_limit(size).dfa_size_limit(size);
    let options = jsonschema::options().offline().with_pattern_options(patterns).should_validate_formats(false);
    match draft {
        Some(draft) => options.with_draft(draft).build(schema),
        None => options.build(schema),
    }
}

fn misfit(fault: &ValidationError<'_>) -> Misfit {
    let mut pointer = fault.instance_path().to_string();
    let keyword = fault.kind().keyword();
    let rule = match fault.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            pointer.push_str(&format!("/{}", name.replace('~', "~0").replace('/', "~1")));
            "required: it is missing".to_owned()
        }
        ValidationErrorKind::AdditionalProperties { unexpected } | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!("{keyword}: {} not allowed here", unexpected.join(", "))
        }
        ValidationErrorKind::BacktrackLimitExceeded { .. } => "pattern: it takes too long to compare".to_owned(),
        // The value stays out of what is told: it may be a secret, and the client knows it.
        _ => format!("{keyword}: {}", fault.masked_with("the value")),
    };
    Misfit { pointer, rule: cut(&rule) }
}

fn cut(text: &str) -> String {
    let mut end = RULE.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() { format!("{}…", &text[..end]) } else { text.to_owned() }
}
