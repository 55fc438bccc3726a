//! What a PodSecurityConfiguration says: which levels count where a namespace names none, and who is exempt.
//!
//! Read when a server starts, out of the AdmissionConfiguration that `--admission-control-config-file` names.

use std::collections::HashSet;
use std::path::Path;

use pintle_api::Cause;
use pintle_api::names::{dns1123_label, dns1123_subdomain};
use serde::Deserialize;

use super::levels::{Asked, Level, Modes, WRONG_LEVEL, WRONG_VERSION, minor};
use crate::admission::configuration::{self, ConfigError};
use crate::config_file;

const PLUGIN: &str = "PodSecurity";
const GROUP: &str = "pod-security.admission.config.k8s.io";
const KIND: &str = "PodSecurityConfiguration";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// Without a file nothing is asked, and nobody is exempt.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub defaults: Modes,
    pub usernames: HashSet<String>,
    pub namespaces: HashSet<String>,
    pub runtime_classes: HashSet<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Given {
    api_version: String,
    kind: String,
    defaults: GivenDefaults,
    exemptions: GivenExemptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct GivenDefaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GivenExemptions {
    usernames: Option<Vec<String>>,
    namespaces: Option<Vec<String>>,
    runtime_classes: Option<Vec<String>>,
}

impl Configuration {
    /// From an AdmissionConfiguration.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        match configuration::of_plugin(file, PLUGIN)? {
            Some(text) if !text.is_empty() => Self::parse(&text),
            _ => Ok(Self::default()),
        }
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let unread = |why: String| ConfigError::Plugin { plugin: PLUGIN, why };
        configuration::check_kind(text, GROUP, &VERSIONS, KIND).map_err(unread)?;
        let given: Given = config_file::parse(text).map_err(|why| unread(format!("strict decoding error: {why}")))?;
        let mut causes = Vec::new();
        let defaults = given.defaults.read(&mut causes);
        let Given { exemptions: GivenExemptions { usernames, namespaces, runtime_classes }, .. } = given;
        let mut read = |field: &str, names: Option<Vec<String>>, faults: fn(&str) -> Vec<String>| {
            let mut seen = HashSet::new();
            for (i, name) in names.unwrap_or_default().into_iter().enumerate() {
                let place = format!("exemptions.{field}[{i}]");
                let why = faults(&name);
                if !why.is_empty() {
                    causes.push(Cause::invalid(place, &name.into(), &why.join(", ")));
                } else if seen.contains(&name) {
                    causes.push(Cause::duplicate(place, &name.into()));
                } else {
                    seen.insert(name);
                }
            }
            seen
        };
        let namespaces = read("namespaces", namespaces, dns1123_label);
        let runtime_classes = read("runtimeClasses", runtime_classes, dns1123_subdomain);
        let no_user = |name: &str| if name.is_empty() { vec!["username must not be empty".to_owned()] } else { Vec::new() };
        let usernames = read("usernames", usernames, no_user);
        config_file::refuse(GROUP, KIND, causes).map_err(|why| ConfigError::Invalid { plugin: PLUGIN, why })?;
        Ok(Self { defaults, usernames, namespaces, runtime_classes })
    }
}

impl GivenDefaults {
    fn read(&self, causes: &mut Vec<Cause>) -> Modes {
        let mut asked = |mode: &str, level: &str, version: &str| {
            let mut asked = Asked::default();
            if !level.is_empty() {
                match Level::parse(level) {
                    Some(level) => asked.level = level,
                    None => causes.push(Cause::invalid(format!("defaults.{mode}"), &level.into(), WRONG_LEVEL)),
                }
            }
            if !version.is_empty() {
                match minor(version) {
                    Some(minor) => asked.minor = minor,
                    None => causes.push(Cause::invalid(format!("defaults.{mode}-version"), &version.into(), WRONG_VERSION)),
                }
            }
            asked
        };
        let enforce = asked("enforce", &self.enforce, &self.enforce_version);
        let warn = asked("warn", &self.warn, &self.warn_version);
        let audit = asked("audit", &self.audit, &self.audit_version);
        Modes { enforce, audit, warn }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: Expect) {
        let told = match Configuration::parse(text) {
            Ok(Configuration { defaults: Modes { enforce, audit, warn }, usernames, namespaces, runtime_classes }) => {
                let exempt: Vec<_> = usernames.iter().chain(&namespaces).chain(&runtime_classes).collect();
                format!("enforce {enforce} audit {audit} warn {warn} exempt {exempt:?}")
            }
            Err(why) => why.to_string(),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn what_is_not_said_is_not_asked() {
        let head = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n";
        check(head, expect!["enforce privileged:latest audit privileged:latest warn privileged:latest exempt []"]);
        let exempt = "exemptions: {usernames: [jane], namespaces: [kube-system], runtimeClasses: [kata.x]}\n";
        check(
            &format!("{head}defaults: {{enforce: baseline, enforce-version: v1.30, warn: restricted}}\n{exempt}"),
            expect![[r#"enforce baseline:v1.30 audit privileged:latest warn restricted:latest exempt ["jane", "kube-system", "kata.x"]"#]],
        );
    }

    #[test]
    fn faults_are_told_together() {
        let head = "apiVersion: pod-security.admission.config.k8s.io/v1beta1\nkind: PodSecurityConfiguration\n";
        let exempt = "exemptions: {usernames: ['', a, a], namespaces: [A], runtimeClasses: [b_]}\n";
        check(
            &format!("{head}defaults: {{enforce: strict, audit-version: '1.2'}}\n{exempt}"),
            expect![[
                r#"failed to initialize admission plugin "PodSecurity": [defaults.enforce: Invalid value: "strict": must be one of privileged, baseline, restricted, defaults.audit-version: Invalid value: "1.2": must be "latest" or "v1.x", exemptions.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), exemptions.runtimeClasses[0]: Invalid value: "b_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*'), exemptions.usernames[0]: Invalid value: "": username must not be empty, exemptions.usernames[2]: Duplicate value: "a"]"#
            ]],
        );
        check(
            &format!("{head}default: {{}}\n"),
            expect![[
                r#"couldn't init admission plugin "PodSecurity": strict decoding error: unknown field `default`, expected one of `apiVersion`, `kind`, `defaults`, `exemptions`"#
            ]],
        );
        check(
            "kind: PodSecurityConfiguration\n",
            expect![[r#"couldn't init admission plugin "PodSecurity": Object 'apiVersion' is missing in 'kind: PodSecurityConfiguration'"#]],
        );
        check(
            "apiVersion: v1\nkind: Pod\n",
            expect![[r#"couldn't init admission plugin "PodSecurity": no kind "Pod" is registered for version "v1""#]],
        );
    }
}
