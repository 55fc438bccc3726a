//! How validation rules see the values of a custom kind: under which names, of which types, and as what.

use pintle_api::object::ObjectExt;
use serde_json::Value;

use pintle_cel::{Declared, Format, Scope, Shape, Type, escaped};

/// What a node's rules may name, by whether they take the value before as one that may not be there.
pub struct Types {
    plain: Scope,
    optional: Scope,
}

impl Default for Types {
    /// Of whatever types.
    fn default() -> Self {
        Self { plain: Scope::open(), optional: Scope::open() }
    }
}

impl Types {
    /// Where values of a schema are nothing that expressions see, nothing is known of them.
    pub fn of(schema: &Value, is_root: bool) -> Self {
        let Some(declared) = Declared::of(schema, is_root) else { return Self::default() };
        let own = Type::declared(&declared, "selfType");
        let scope = Scope::default().with("self", own.clone());
        Self { plain: scope.clone().with("oldSelf", own.clone()), optional: scope.with("oldSelf", Type::optional(own)) }
    }

    pub fn for_rule(&self, rule: &Value) -> &Scope {
        if rule.bool_at(&["optionalOldSelf"]) { &self.optional } else { &self.plain }
    }
}

/// How expressions see values: fields under names that CEL can say, numbers as doubles where the schema says number, times as times.
pub fn shape_of(schema: &Value) -> Shape {
    let is_text = schema.str_at(&["type"]) == "string";
    let below = ["items", "additionalProperties"].into_iter().find_map(|key| schema.get(key).filter(|schema| schema.is_object()));
    let fields = schema.map_at(&["properties"]).into_iter().flatten().map(|(name, schema)| (name, escaped(name), shape_of(schema)));
    let differs = |(name, shown, shape): &(&String, Option<String>, Shape)| shown.as_ref() != Some(*name) || !shape.is_plain();
    Shape {
        format: Format::named(schema.str_at(&["format"])).filter(|_| is_text),
        is_double: schema.str_at(&["type"]) == "number",
        fields: fields.filter(differs).map(|(name, shown, shape)| (name.clone(), (shown, shape))).collect(),
        each: below.map(shape_of).filter(|each| !each.is_plain()).map(Box::new),
    }
}
