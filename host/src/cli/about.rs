//! Questions about the server: `api-resources`, `api-versions`, `cluster-info`, `version`, `auth can-i`, `explain`.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use pintle_api::object::ObjectExt;
use pintle_api::{ResourceDef, Scope};
use serde_json::{Value, json};

use super::print::{self, Format};
use super::session::{Global, Session, collection_path};
use super::{tabs, yaml};

#[derive(clap::Args, Debug)]
pub struct ApiResourcesArgs {
    /// Only this group; empty for the core
    #[arg(long)]
    pub api_group: Option<String>,
    #[arg(long)]
    pub namespaced: Option<bool>,
    #[arg(long, value_delimiter = ',')]
    pub verbs: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub categories: Vec<String>,
    /// name or kind
    #[arg(long)]
    pub sort_by: Option<String>,
    #[arg(long)]
    pub no_headers: bool,
    /// wide or name
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct PlainArgs {
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct VersionArgs {
    /// Without asking the server
    #[arg(long)]
    pub client: bool,
    /// json or yaml
    #[arg(short, long)]
    pub output: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

#[derive(clap::Args, Debug)]
pub struct AuthArgs {
    #[command(subcommand)]
    pub what: Auth,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Subcommand, Debug)]
pub enum Auth {
    /// VERB RESOURCE[/SUBRESOURCE] [NAME], VERB TYPE/NAME, or VERB /PATH
    CanI {
        words: Vec<String>,
        #[arg(long, default_value = "")]
        subresource: String,
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Everything that is allowed
        #[arg(long)]
        list: bool,
        /// Say nothing, only end with 0 or 1
        #[arg(short, long)]
        quiet: bool,
    },
    /// Who the server takes this user for
    Whoami,
}

#[derive(clap::Args, Debug)]
pub struct ExplainArgs {
    /// TYPE[.FIELD...]
    pub path: String,
    /// All fields below
    #[arg(long)]
    pub recursive: bool,
    #[arg(long)]
    pub api_version: Option<String>,
    #[command(flatten)]
    pub global: Global,
}

pub async fn api_resources(args: ApiResourcesArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let discovery = session.discovery().await?;
    let mut shown: Vec<&ResourceDef> = Vec::new();
    for def in &discovery.resources {
        let known = shown.iter().any(|d| d.group == def.group && d.resource == def.resource);
        if !known && args.wants(def) {
            shown.push(def);
        }
    }
    match args.sort_by.as_deref() {
        Some("kind") => shown.sort_by_key(|d| d.kind.clone()),
        Some("name") => shown.sort_by_key(|d| d.resource.clone()),
        Some(_) => bail!("--sort-by accepts only name or kind"),
        None => shown.sort_by_key(|d| (d.group.clone(), d.resource.clone())),
    }
    match args.output.as_deref() {
        Some("name") => {
            shown.iter().for_each(|d| print::line(&d.gvr().to_string()));
            return Ok(ExitCode::SUCCESS);
        }
        None | Some("" | "wide") => {}
        Some(other) => bail!("--output {other} is not available"),
    }
    let wide = args.output.as_deref() == Some("wide");
    let mut rows = if args.no_headers {
        String::new()
    } else {
        format!("NAME\tSHORTNAMES\tAPIVERSION\tNAMESPACED\tKIND{}\n", if wide { "\tVERBS\tCATEGORIES" } else { "" })
    };
    for def in shown {
        let more = if wide { format!("\t{}\t{}", def.verbs.join(","), def.categories.join(",")) } else { String::new() };
        rows.push_str(&format!(
            "{}\t{}\t{}\t{}\t{}{more}\n",
            def.resource,
            def.short_names.join(","),
            def.api_version(),
            def.is_namespaced(),
            def.kind
        ));
    }
    print::text(&tabs::align(&rows, tabs::TABLE));
    Ok(ExitCode::SUCCESS)
}

impl ApiResourcesArgs {
    fn wants(&self, def: &ResourceDef) -> bool {
        self.api_group.as_ref().is_none_or(|g| def.group == g.as_str())
            && self.namespaced.is_none_or(|n| (def.scope == Scope::Namespaced) == n)
            && self.verbs.iter().all(|v| def.verbs.iter().any(|own| own == v))
            && self.categories.iter().all(|c| def.categories.iter().any(|own| own == c))
            && !def.verbs.is_empty()
    }
}

pub async fn api_versions(args: PlainArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let mut versions: Vec<String> = session.discovery().await?.resources.iter().map(ResourceDef::api_version).collect();
    versions.sort();
    versions.dedup();
    versions.iter().for_each(|v| print::line(v));
    Ok(ExitCode::SUCCESS)
}

pub async fn cluster_info(args: PlainArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let server = session.client.server();
    print::line(&format!("Kubernetes control plane is running at {server}"));
    let def = session.discovery().await?.find("services")?;
    for service in
        session.list(&format!("{}?labelSelector=kubernetes.io%2Fcluster-service%3Dtrue", collection_path(def, Some("kube-system")))).await?
    {
        let name = service.annotation("kubernetes.io/name").or(service.label("kubernetes.io/name")).unwrap_or(service.name());
        let port = service.list_at(&["spec", "ports"]).first().map_or("", |p| p.str_at(&["name"]));
        let suffix = if port.is_empty() { String::new() } else { format!(":{port}") };
        print::line(&format!("{name} is running at {server}/api/v1/namespaces/kube-system/services/{}{suffix}/proxy", service.name()));
    }
    print::line("\nTo further debug and diagnose cluster problems, use 'pintle get events -A' and 'pintle status'.");
    Ok(ExitCode::SUCCESS)
}

pub async fn version(args: VersionArgs) -> Result<ExitCode> {
    let own = concat!("v", env!("CARGO_PKG_VERSION"));
    let server = if args.client { None } else { Some(Session::open(&args.global)?.get("/version").await?) };
    let mut whole = json!({"clientVersion": {"gitVersion": own}});
    if let Some(server) = &server {
        whole["serverVersion"] = server.clone();
    }
    match Format::parse(args.output.as_deref())? {
        Format::Human => {
            print::line(&format!("Client Version: {own}"));
            if let Some(server) = &server {
                print::line(&format!("Server Version: {}", server.str_at(&["gitVersion"])));
            }
        }
        Format::Json => print::line(&print::pretty(&whole)?),
        Format::Yaml => print::text(&yaml::to_string(&whole)),
        _ => bail!("--output must be 'yaml' or 'json'"),
    }
    Ok(ExitCode::SUCCESS)
}

pub async fn auth(args: AuthArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    match &args.what {
        Auth::Whoami => whoami(&session).await,
        Auth::CanI { list: true, .. } => allowed_rules(&session).await,
        Auth::CanI { words, subresource, all_namespaces, quiet, .. } => can_i(&session, words, subresource, *all_namespaces, *quiet).await,
    }
}

async fn can_i(session: &Session, words: &[String], subresource: &str, all: bool, quiet: bool) -> Result<ExitCode> {
    let (verb, what, name) = match words {
        [verb, what] => (verb, what, ""),
        [verb, what, name] => (verb, what, name.as_str()),
        _ => bail!("you must specify two arguments: verb resource or verb resource/resourceName."),
    };
    let mut spec = json!({});
    if what.starts_with('/') {
        spec["nonResourceAttributes"] = json!({"verb": verb, "path": what});
    } else {
        let (kind, tail) = what.split_once('/').unwrap_or((what, ""));
        let found = if kind == "*" { None } else { session.discovery().await?.find(kind).ok() };
        if found.is_none() && kind != "*" {
            eprintln!("Warning: the server doesn't have a resource type '{kind}'\n");
        }
        if found.is_some_and(|d| !d.is_namespaced()) {
            eprintln!(
                "Warning: resource '{}' is not namespace scoped\n",
                found.map_or(String::new(), |d| d.gvr().to_string().replacen('.', "' in group '", 1))
            );
        }
        let (group, resource) = found.map_or(("", kind), |d| (&*d.group, &*d.resource));
        let is_subresource = found.is_some_and(|d| d.subresources.iter().any(|s| s.name == tail));
        let (subresource, name) = match (is_subresource && name.is_empty(), tail) {
            (_, "") => (subresource, name),
            (true, tail) if subresource.is_empty() => (tail, ""),
            (_, tail) => (subresource, tail),
        };
        let namespace = if all || found.is_some_and(|d| !d.is_namespaced()) { "" } else { &session.namespace };
        spec["resourceAttributes"] =
            json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name, "namespace": namespace});
    }
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec});
    let answer = session.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let allowed = answer.bool_at(&["status", "allowed"]);
    if !quiet {
        let mut text = if allowed { "yes" } else { "no" }.to_owned();
        if !allowed && !answer.str_at(&["status", "reason"]).is_empty() {
            text.push_str(&format!(" - {}", answer.str_at(&["status", "reason"])));
        }
        print::line(&text);
    }
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn allowed_rules(session: &Session) -> Result<ExitCode> {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": session.namespace}});
    let answer = session.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await?;
    let list = |rule: &Value, field: &str| format!("[{}]", rule.list_at(&[field]).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    let mut rows = "Resources\tNon-Resource URLs\tResource Names\tVerbs\n".to_owned();
    for rule in answer.list_at(&["status", "resourceRules"]) {
        for group in rule.list_at(&["apiGroups"]).iter().filter_map(Value::as_str) {
            let suffix = if group.is_empty() { String::new() } else { format!(".{group}") };
            for resource in rule.list_at(&["resources"]).iter().filter_map(Value::as_str) {
                rows.push_str(&format!("{resource}{suffix}\t[]\t{}\t{}\n", list(rule, "resourceNames"), list(rule, "verbs")));
            }
        }
    }
    for rule in answer.list_at(&["status", "nonResourceRules"]) {
        rows.push_str(&format!("\t{}\t[]\t{}\n", list(rule, "nonResourceURLs"), list(rule, "verbs")));
    }
    print::text(&tabs::align(&rows, tabs::TABLE));
    Ok(ExitCode::SUCCESS)
}

async fn whoami(session: &Session) -> Result<ExitCode> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = session.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    let user = &answer["status"]["userInfo"];
    let groups: Vec<&str> = user.list_at(&["groups"]).iter().filter_map(Value::as_str).collect();
    let mut rows = format!("ATTRIBUTE\tVALUE\nUsername\t{}\n", user.str_at(&["username"]));
    if !user.str_at(&["uid"]).is_empty() {
        rows.push_str(&format!("UID\t{}\n", user.str_at(&["uid"])));
    }
    rows.push_str(&format!("Groups\t[{}]\n", groups.join(" ")));
    print::text(&tabs::align(&rows, tabs::TABLE));
    Ok(ExitCode::SUCCESS)
}

/// From the OpenAPI document of the resource's group and version.
pub async fn explain(args: ExplainArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    let mut words = args.path.split('.');
    let first = words.next().unwrap_or_default();
    let discovery = session.discovery().await?;
    let def = match &args.api_version {
        Some(version) => discovery
            .resources
            .iter()
            .find(|d| d.api_version() == *version && (d.resource == first || d.singular == first || d.short_names.iter().any(|s| s == first))),
        None => Some(discovery.find(first)?),
    };
    let def = def.ok_or_else(|| anyhow!("the server doesn't have a resource type {first:?}"))?;
    let root = if def.group.is_empty() { "api" } else { "apis" };
    let document = session.get(&format!("/openapi/v3/{root}/{}", def.api_version())).await?;
    let schemas = &document["components"]["schemas"];
    let is_kind = |s: &Value| {
        let tagged = s.list_at(&["x-kubernetes-group-version-kind"]).iter();
        tagged.clone().any(|g| g.str_at(&["kind"]) == def.kind && g.str_at(&["group"]) == def.group && g.str_at(&["version"]) == def.version)
    };
    let mut here = schemas
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, s)| s)
        .find(|s| is_kind(s))
        .ok_or_else(|| anyhow!("the server describes no {}", def.kind))?;
    let (mut field, mut described) = (None, here);
    for word in words {
        let inside = element(schemas, here);
        described = inside.at(&["properties", word]).ok_or_else(|| anyhow!("field {word:?} does not exist"))?;
        here = resolve(schemas, described);
        field = Some((word, type_name(schemas, described)));
    }
    if !def.group.is_empty() {
        print::line(&format!("GROUP:      {}", def.group));
    }
    print::line(&format!("KIND:       {}\nVERSION:    {}\n", def.kind, def.version));
    if let Some((name, kind)) = &field {
        print::line(&format!("FIELD: {name} <{kind}>\n\n"));
    }
    // What the field says of itself, then what its type says.
    let mut texts = vec![described.str_at(&["description"])];
    let kind_text = element(schemas, here).str_at(&["description"]);
    if field.is_some() && kind_text != texts[0] {
        texts.push(kind_text);
    }
    texts.retain(|t| !t.is_empty());
    if texts.is_empty() {
        texts.push("<empty>");
    }
    print::line("DESCRIPTION:");
    texts.iter().for_each(|t| print::line(&format!("    {}", wrapped(t, 4))));
    print::line("    ");
    let inside = element(schemas, here);
    if inside.map_at(&["properties"]).is_some() {
        print::line("FIELDS:");
        fields(schemas, inside, 2, args.recursive, &mut Vec::new());
        print::line("");
    }
    Ok(ExitCode::SUCCESS)
}

fn fields(schemas: &Value, of: &Value, indent: usize, recursive: bool, seen: &mut Vec<String>) {
    let required: Vec<&str> = of.list_at(&["required"]).iter().filter_map(Value::as_str).collect();
    for (name, schema) in of.map_at(&["properties"]).into_iter().flatten() {
        let mark = if required.contains(&name.as_str()) { " -required-" } else { "" };
        print::line(&format!("{}{name}\t<{}>{mark}", " ".repeat(indent), type_name(schemas, schema)));
        if recursive {
            let inside = element(schemas, resolve(schemas, schema));
            let key = type_name(schemas, schema);
            if inside.map_at(&["properties"]).is_some() && !seen.contains(&key) {
                seen.push(key);
                fields(schemas, inside, indent + 2, true, seen);
                seen.pop();
            }
        } else {
            print::line(&format!("{}{}\n", " ".repeat(indent + 2), wrapped(schema.str_at(&["description"]), indent + 2)));
        }
    }
}

fn reference(schema: &Value) -> Option<&str> {
    let inner = schema.list_at(&["allOf"]).first().unwrap_or(schema);
    inner.str_at(&["$ref"]).strip_prefix("#/components/schemas/")
}

fn resolve<'s>(schemas: &'s Value, schema: &'s Value) -> &'s Value {
    reference(schema).and_then(|name| schemas.get(name)).unwrap_or(schema)
}

/// Of a list or a map: what is in it.
fn element<'s>(schemas: &'s Value, schema: &'s Value) -> &'s Value {
    let schema = resolve(schemas, schema);
    match schema.at(&["items"]).or(schema.at(&["additionalProperties"]).filter(|a| a.is_object())) {
        Some(inner) => element(schemas, inner),
        None => schema,
    }
}

fn type_name(schemas: &Value, schema: &Value) -> String {
    if let Some(items) = schema.at(&["items"]) {
        return format!("[]{}", type_name(schemas, items));
    }
    if let Some(values) = schema.at(&["additionalProperties"]).filter(|a| a.is_object()) {
        return format!("map[string]{}", type_name(schemas, values));
    }
    match reference(schema) {
        Some(name) => {
            let target = &schemas[name];
            match target.str_at(&["type"]) {
                "string" if target.map_at(&["properties"]).is_none() => "string".to_owned(),
                _ => name.rsplit('.').next().unwrap_or(name).to_owned(),
            }
        }
        None if schema.str_at(&["type"]).is_empty() => "Object".to_owned(),
        None if schema.str_at(&["type"]) == "object" => "Object".to_owned(),
        None => schema.str_at(&["type"]).to_owned(),
    }
}

/// Lines of at most eighty characters.
fn wrapped(text: &str, indent: usize) -> String {
    const WIDTH: usize = 80;
    let gap = format!("\n{}", " ".repeat(indent));
    let mut out = String::new();
    for (index, paragraph) in text.split('\n').enumerate() {
        if index > 0 {
            out.push_str(&gap);
        }
        let mut column = indent;
        for (at, word) in paragraph.split_whitespace().enumerate() {
            if at > 0 && column + 1 + word.len() > WIDTH {
                out.push_str(&gap);
                column = indent;
            } else if at > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += word.len();
        }
    }
    out
}
