//! Reading objects by path. A missing field reads as empty.

use serde_json::Value;

pub trait Fields {
    fn at(&self, path: &[&str]) -> Option<&Value>;
    fn text(&self, path: &[&str]) -> &str;
    fn integer(&self, path: &[&str]) -> Option<i64>;
    fn flag(&self, path: &[&str]) -> bool;
    fn items(&self, path: &[&str]) -> &[Value];

    fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }
    fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }
    fn uid(&self) -> &str {
        self.text(&["metadata", "uid"])
    }
    fn labels(&self) -> Option<&Value> {
        self.at(&["metadata", "labels"])
    }
    fn label(&self, key: &str) -> &str {
        self.labels().and_then(|l| l.get(key)).and_then(Value::as_str).unwrap_or("")
    }
    fn annotation(&self, key: &str) -> &str {
        self.at(&["metadata", "annotations"]).and_then(|a| a.get(key)).and_then(Value::as_str).unwrap_or("")
    }
    fn deleting(&self) -> bool {
        self.at(&["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null())
    }
    fn created(&self) -> i64 {
        crate::time::seconds(self.text(&["metadata", "creationTimestamp"])).unwrap_or(0)
    }
    fn controller(&self) -> Option<&Value> {
        self.items(&["metadata", "ownerReferences"]).iter().find(|o| o.flag(&["controller"]))
    }
    fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| o.text(&["uid"]) == uid)
    }
}

impl Fields for Value {
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |v, key| v.get(*key))
    }
    fn text(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or("")
    }
    fn integer(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }
    fn flag(&self, path: &[&str]) -> bool {
        self.at(path).and_then(Value::as_bool).unwrap_or(false)
    }
    fn items(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}
