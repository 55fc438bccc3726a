//! The file that `--admission-control-config-file` names: upstream's AdmissionConfiguration, which holds the configuration of each admission
//! plugin or says in which file it lies.
//!
//! Of those that take one Pod Security alone is here to be configured; the others are warned of.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::config_file;

const KIND: &str = "AdmissionConfiguration";
const GROUPS: [(&str, &[&str]); 2] = [("apiserver.config.k8s.io", &["v1"]), ("apiserver.k8s.io", &["v1alpha1"])];
const CONFIGURABLE: [&str; 1] = ["PodSecurity"];

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read plugin config: unable to read admission control configuration from {path:?} [{why}]")]
    Read { path: PathBuf, why: std::io::Error },
    #[error("failed to read plugin config: {0}")]
    Syntax(String),
    #[error("couldn't init admission plugin {plugin:?}: {why}")]
    Plugin { plugin: &'static str, why: String },
    #[error("failed to initialize admission plugin {plugin:?}: {why}")]
    Invalid { plugin: &'static str, why: String },
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    api_version: String,
    kind: String,
    plugins: Option<Vec<GivenPlugin>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GivenPlugin {
    name: String,
    path: String,
    configuration: Option<Value>,
}

/// The text of a plugin's configuration, from within the file or from the one that it names.
pub fn of_plugin(file: &Path, plugin: &'static str) -> Result<Option<String>, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|why| ConfigError::Read { path: file.to_owned(), why })?;
    check_group(&text).map_err(ConfigError::Syntax)?;
    let given: Given = config_file::parse(&text).map_err(|why| ConfigError::Syntax(format!("strict decoding error: {why}")))?;
    let plugins = given.plugins.unwrap_or_default();
    for other in plugins.iter().filter(|other| !CONFIGURABLE.contains(&other.name.as_str())) {
        tracing::warn!(plugin = other.name, "an admission plugin is configured that takes no configuration here");
    }
    let Some(found) = plugins.into_iter().find(|given| given.name == plugin) else { return Ok(None) };
    match (found.configuration.filter(|inside| !inside.is_null()), found.path.as_str()) {
        (Some(inside), _) => Ok(Some(inside.to_string())),
        (None, "") => Ok(None),
        (None, path) => {
            // Beside the file, unless it says where.
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            let read = std::fs::read_to_string(&path);
            read.map(Some).map_err(|why| ConfigError::Plugin { plugin, why: format!("open {}: {why}", path.display()) })
        }
    }
}

fn check_group(text: &str) -> Result<(), String> {
    let mut faults = GROUPS.into_iter().map(|(group, versions)| check_kind(text, group, versions, KIND));
    let first = faults.next().unwrap_or(Ok(()));
    first.or_else(|why| if faults.any(|other| other.is_ok()) { Ok(()) } else { Err(why) })
}

/// Whether the text says to be of the kind.
pub fn check_kind(text: &str, group: &str, versions: &[&str], kind: &str) -> Result<(), String> {
    let value: Value = config_file::parse(text)?;
    let said = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    match (said("kind"), said("apiVersion")) {
        ("", _) => Err(format!("Object 'Kind' is missing in '{}'", text.trim_end())),
        (_, "") => Err(format!("Object 'apiVersion' is missing in '{}'", text.trim_end())),
        (found, version) if found == kind && versions.iter().any(|known| version == format!("{group}/{known}")) => Ok(()),
        (found, version) => Err(format!("no kind {found:?} is registered for version {version:?}")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn told(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("admission.yaml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("pods.yaml"), "beside").unwrap();
        of_plugin(&file, "PodSecurity").map_or_else(|why| why.to_string(), |found| format!("{found:?}"))
    }

    #[test]
    fn a_plugins_configuration_lies_within_or_in_a_file_beside() {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        let said = [
            head.to_owned(),
            format!("{head}plugins:\n- name: PodSecurity\n  configuration: {{a: 1}}\n"),
            format!("{head}plugins:\n- {{name: Other, path: nowhere}}\n- {{name: PodSecurity, path: pods.yaml}}\n"),
            "apiVersion: apiserver.k8s.io/v1alpha1\nkind: AdmissionConfiguration\nplugins: null\n".to_owned(),
            format!("{head}plugin: []\n"),
            "kind: AdmissionConfiguration\n".to_owned(),
            "apiVersion: v1\nkind: Pod\n".to_owned(),
        ]
        .map(|text| told(&text));
        expect![[r#"
            None
            Some("{\"a\":1}")
            Some("beside")
            None
            failed to read plugin config: strict decoding error: unknown field `plugin`, expected one of `apiVersion`, `kind`, `plugins`
            failed to read plugin config: Object 'apiVersion' is missing in 'kind: AdmissionConfiguration'
            failed to read plugin config: no kind "Pod" is registered for version "v1""#]]
        .assert_eq(&said.join("\n"));
        let missing = of_plugin(Path::new("/nowhere"), "PodSecurity").unwrap_err();
        expect![[
            r#"failed to read plugin config: unable to read admission control configuration from "/nowhere" [No such file or directory (os error 2)]"#
        ]]
        .assert_eq(&missing.to_string());
    }
}
