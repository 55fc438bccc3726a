//! How Go's decoder names fields and types, for messages about values of a wrong type.
//!
//! `go.txt` holds what cannot be told from the schemas: named types (`v1.PullPolicy` is a string) and embedded structs, whose names stand in
//! a field's path. Read once, on the first fault.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("go.txt");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GoField {
    /// The named type.
    pub kind: Option<&'static str>,
    /// Embedded structs between the type and the field, joined by dots; mostly none.
    pub within: &'static str,
}

static FIELDS: LazyLock<HashMap<(&str, &str), GoField>> = LazyLock::new(read);

/// `definition` by the name in the tables.
pub(super) fn field(definition: &str, name: &str) -> GoField {
    FIELDS.get(&(definition, name)).copied().unwrap_or_default()
}

/// The type of a list's items or a map's values.
pub(super) fn inner(kind: &'static str) -> Option<&'static str> {
    match kind.strip_prefix("[]") {
        Some(item) => Some(item.strip_prefix('*').unwrap_or(item)),
        None => kind.strip_prefix("map[")?.split_once(']').map(|(_, value)| value),
    }
}

fn read() -> HashMap<(&'static str, &'static str), GoField> {
    let mut fields = HashMap::with_capacity(512);
    let mut definition = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let Some(row) = line.strip_prefix(' ') else {
            definition = line;
            continue;
        };
        let mut words = row.split(' ');
        let (name, kind) = (words.next().unwrap_or(""), words.next().filter(|kind| *kind != "-"));
        fields.insert((definition, name), GoField { kind, within: words.next().unwrap_or("") });
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::rows;

    /// A renamed field would silently lose its name.
    #[test]
    fn every_row_names_a_field_that_exists() {
        let known: HashMap<&str, Vec<&str>> = rows::read().into_iter().map(|d| (d.name, d.fields.iter().map(|f| f.name).collect())).collect();
        let mut strangers: Vec<_> =
            FIELDS.keys().filter(|(definition, field)| !known.get(definition).is_some_and(|fields| fields.contains(field))).collect();
        strangers.sort_unstable();
        assert!(strangers.is_empty(), "{strangers:?}");
        assert_eq!(field("api.core.v1.Container", "imagePullPolicy").kind, Some("v1.PullPolicy"));
        assert_eq!(field("api.core.v1.Volume", "emptyDir"), GoField { kind: None, within: "VolumeSource" });
        assert_eq!((inner("[]v1.KeyUsage"), inner("map[string]v1.ExtraValue")), (Some("v1.KeyUsage"), Some("v1.ExtraValue")));
    }
}
