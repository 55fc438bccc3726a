//! Paths and operations of one resource, as upstream publishes them. kubectl and client-go read from them which verbs take `fieldValidation` and
//! `dryRun`; client generators read the operation ids.

use serde_json::{Map, Value};

use super::operations::{Answer, Frame, Operation};
use super::parameters::{self, Parameter};
use super::{Dialect, Published};
use crate::ResourceDef;
use crate::resource::SubresourceDef;

pub(super) const META_PACKAGE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// Methods that a proxy hands on, with the verbs that stand in discovery for them and those that do not.
const PROXIED: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
const USE_A_LIST: &str = "deprecated: use the 'watch' parameter with a list operation instead";

/// Full names of the definitions that operations take and give.
pub(super) struct Bodies<'a> {
    pub(super) object: String,
    pub(super) list: String,
    /// The definition of a subresource's kind; `None`: no JSON body (a stream, a proxy).
    pub(super) of_subresource: &'a dyn Fn(&SubresourceDef) -> Option<String>,
}

/// Calls `add` with each path and its item.
pub(super) fn of_resource(published: &Published<'_>, bodies: &Bodies<'_>, dialect: Dialect, mut add: impl FnMut(String, Value)) {
    let writer = Writer { def: published.def, bodies, dialect, custom: published.schema.is_some() };
    let def = published.def;
    let root = format!("{}/{}", if def.group.is_empty() { "/api" } else { "/apis" }, def.api_version());
    let collection = if def.is_namespaced() { format!("namespaces/{{namespace}}/{}", def.resource) } else { def.resource.to_string() };
    let mut add_if_any = |path: String, item: Option<Value>| item.into_iter().for_each(|item| add(path.clone(), item));

    add_if_any(format!("{root}/{collection}"), writer.item(None, writer.collection()));
    if def.is_namespaced() && writer.has("list") {
        add_if_any(format!("{root}/{}", def.resource), writer.item_of(Vec::new(), vec![writer.all_namespaces()]));
    }
    add_if_any(format!("{root}/{collection}/{{name}}"), writer.item(Some(&def.kind), writer.object()));
    for sub in def.subresources.iter() {
        let path = format!("{root}/{collection}/{{name}}/{}", sub.name);
        let kind = sub.kind.as_ref().map_or(def.kind.as_ref(), |kind| kind.kind.as_ref());
        let operations = writer.subresource(sub);
        let proxied = operations.iter().any(|operation| operation.answer == Answer::Whatever) && sub.name == "proxy";
        if proxied {
            let with_path: Vec<Operation<'_>> =
                operations.iter().map(|operation| Operation { id: format!("{}WithPath", operation.id), ..operation.clone() }).collect();
            let parameters = writer.place(Some(kind)).into_iter().chain(Parameter::rest_of_path()).collect();
            add_if_any(format!("{path}/{{path}}"), writer.item_of(parameters, with_path));
        }
        add_if_any(path, writer.item(Some(kind), operations));
    }
    if writer.has("watch") && !writer.custom {
        add_if_any(format!("{root}/watch/{collection}"), writer.item(None, vec![writer.watch_list("")]));
        if def.is_namespaced() {
            add_if_any(format!("{root}/watch/{}", def.resource), writer.item_of(Vec::new(), vec![writer.watch_list("ForAllNamespaces")]));
        }
        add_if_any(format!("{root}/watch/{collection}/{{name}}"), writer.item(Some(&def.kind), vec![writer.watch_object()]));
    }
}

/// `flowcontrolApiserver`, as in tags.
pub(super) fn group_tag(group: &str) -> String {
    let id = group_id(group);
    let mut letters = id.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}

/// `FlowcontrolApiserver`, as in operation ids.
pub(super) fn group_id(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split(['.', '-']).map(capitalized).collect()
}

pub(super) fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}

struct Writer<'a> {
    def: &'a ResourceDef,
    bodies: &'a Bodies<'a>,
    dialect: Dialect,
    custom: bool,
}

impl<'a> Writer<'a> {
    fn has(&self, verb: &str) -> bool {
        self.def.verbs.iter().any(|known| known == verb)
    }

    fn collection(&self) -> Vec<Operation<'a>> {
        let kind = self.def.kind.as_ref();
        let mut operations = Vec::new();
        if self.has("list") {
            let operation = self.operation("get", "list", self.id("list", ""), self.about_list());
            operations.push(Operation { answer: Answer::Object(self.bodies.list.clone()), ..operation });
        }
        if self.has("create") {
            let operation = self.operation("post", "post", self.id("create", ""), format!("create{}{kind}", article(kind)));
            operations.push(Operation { parameters: "write", takes: Some((self.bodies.object.clone(), true)), ..operation });
        }
        if self.has("deletecollection") {
            let id = format!("delete{}Collection{}{kind}", self.group_version_id(), self.namespaced_word());
            let operation = self.operation("delete", "deletecollection", id, format!("delete collection of {kind}"));
            operations.push(Operation { takes: Some((meta("DeleteOptions"), false)), answer: Answer::Object(meta("Status")), ..operation });
        }
        operations
    }

    fn all_namespaces(&self) -> Operation<'a> {
        let id = format!("list{}{}ForAllNamespaces", self.group_version_id(), self.def.kind);
        Operation { answer: Answer::Object(self.bodies.list.clone()), ..self.operation("get", "list", id, self.about_list()) }
    }

    fn about_list(&self) -> String {
        format!("{} objects of kind {}", if self.has("watch") { "list or watch" } else { "list" }, self.def.kind)
    }

    fn watch_list(&self, suffix: &str) -> Operation<'a> {
        let namespaced = if suffix.is_empty() { self.namespaced_word() } else { "" };
        let id = format!("watch{}{namespaced}{}List{suffix}", self.group_version_id(), self.def.kind);
        let description = format!("watch individual changes to a list of {}. {USE_A_LIST}.", self.def.kind);
        Operation { parameters: "list", answer: Answer::Object(meta("WatchEvent")), ..self.operation("get", "watchlist", id, description) }
    }

    fn watch_object(&self) -> Operation<'a> {
        let description = format!(
            "watch changes to an object of kind {}. {USE_A_LIST}, filtered to a single item with the 'fieldSelector' parameter.",
            self.def.kind
        );
        let operation = self.operation("get", "watch", self.id("watch", ""), description);
        Operation { parameters: "list", answer: Answer::Object(meta("WatchEvent")), ..operation }
    }

    fn object(&self) -> Vec<Operation<'a>> {
        let kind = self.def.kind.as_ref();
        let mut operations = Vec::new();
        if self.has("get") {
            operations.push(self.operation("get", "get", self.id("read", ""), format!("read the specified {kind}")));
        }
        if self.has("update") {
            operations.push(self.put("", &self.bodies.object, format!("replace the specified {kind}")));
        }
        if self.has("patch") {
            operations.push(self.patch("", format!("partially update the specified {kind}")));
        }
        if self.has("delete") {
            // Upstream's documents say Status for a Namespace, though the Namespace is what comes.
            let returned = self.def.gives_back_what_was_deleted() && self.def.resource != "namespaces";
            let answer = Answer::Object(if returned { self.bodies.object.clone() } else { meta("Status") });
            let operation = self.operation("delete", "delete", self.id("delete", ""), format!("delete{}{kind}", article(kind)));
            operations.push(Operation { takes: Some((meta("DeleteOptions"), false)), answer, ..operation });
        }
        operations
    }

    fn subresource(&self, sub: &'a SubresourceDef) -> Vec<Operation<'a>> {
        let about = sub.kind.as_ref().map(|kind| (kind.group.as_ref(), kind.version.as_ref(), kind.kind.as_ref()));
        let operations = match (self.bodies.of_subresource)(sub) {
            Some(body) => sub.verbs.iter().filter_map(|verb| self.of_body(sub, verb, &body)).collect(),
            None if sub.name == "log" => vec![self.log(sub)],
            None => self.connections(sub),
        };
        operations.into_iter().map(|operation| Operation { about, ..operation }).collect()
    }

    fn of_body(&self, sub: &SubresourceDef, verb: &str, body: &str) -> Option<Operation<'a>> {
        let (suffix, kind) = (capitalized(&sub.name), self.def.kind.as_ref());
        let what = format!("{} of the specified {kind}", sub.name);
        let operation = match verb {
            "get" => self.operation("get", "get", self.id("read", &suffix), format!("read {what}")),
            "create" => {
                let description = format!("create {} of{}{kind}", sub.name, article(kind));
                let operation = self.operation("post", "post", self.id("create", &suffix), description);
                Operation { takes: Some((body.to_owned(), true)), ..operation }
            }
            "update" => self.put(&suffix, body, format!("replace {what}")),
            "patch" => self.patch(&suffix, format!("partially update {what}")),
            _ => return None,
        };
        Some(Operation { answer: Answer::Object(body.to_owned()), ..operation })
    }

    fn log(&self, sub: &SubresourceDef) -> Operation<'a> {
        let description = format!("read {} of the specified {}", sub.name, self.def.kind);
        let operation = self.operation("get", "get", self.id("read", &capitalized(&sub.name)), description);
        Operation { parameters: "PodLogOptions", answer: Answer::Log, ..operation }
    }

    fn connections(&self, sub: &'a SubresourceDef) -> Vec<Operation<'a>> {
        let methods: Vec<&str> = if sub.name == "proxy" {
            PROXIED.to_vec()
        } else {
            sub.verbs.iter().map(|verb| if verb == "create" { "post" } else { verb.as_ref() }).collect()
        };
        let (suffix, kind) = (capitalized(&sub.name), self.def.kind.as_ref());
        let connection = |method: &'a str| {
            let id = format!("connect{}{}{}{kind}{suffix}", self.group_version_id(), capitalized(method), self.namespaced_word());
            let description = format!("connect {} requests to {} of {kind}", method.to_uppercase(), sub.name);
            let parameters = sub.kind.as_ref().map_or("", |kind| kind.kind.as_ref());
            Operation { parameters, answer: Answer::Whatever, ..self.operation(method, "connect", id, description) }
        };
        methods.into_iter().map(connection).collect()
    }

    fn put(&self, suffix: &str, body: &str, description: String) -> Operation<'a> {
        Operation { takes: Some((body.to_owned(), true)), ..self.operation("put", "put", self.id("replace", suffix), description) }
    }

    fn patch(&self, suffix: &str, description: String) -> Operation<'a> {
        Operation { takes: Some((meta("Patch"), true)), ..self.operation("patch", "patch", self.id("patch", suffix), description) }
    }

    /// One that answers with the object.
    fn operation(&self, method: &'a str, action: &'a str, id: String, description: String) -> Operation<'a> {
        let parameters = match action {
            "post" | "put" => "write",
            other => other,
        };
        Operation { method, action, id, description, parameters, takes: None, answer: Answer::Object(self.bodies.object.clone()), about: None }
    }

    /// `replaceAppsV1NamespacedDeploymentStatus`
    fn id(&self, word: &str, suffix: &str) -> String {
        format!("{word}{}{}{}{suffix}", self.group_version_id(), self.namespaced_word(), self.def.kind)
    }

    fn group_version_id(&self) -> String {
        format!("{}{}", group_id(&self.def.group), capitalized(&self.def.version))
    }

    fn namespaced_word(&self) -> &'static str {
        if self.def.is_namespaced() { "Namespaced" } else { "" }
    }

    fn frame(&self) -> Frame<'_> {
        Frame { def: self.def, dialect: self.dialect, custom: self.custom }
    }

    /// What a path itself asks for; with the name of such an object.
    fn place(&self, named: Option<&str>) -> Vec<Parameter> {
        named.map(Parameter::name).into_iter().chain(self.def.is_namespaced().then(Parameter::namespace).flatten()).collect()
    }

    fn item(&self, named: Option<&str>, operations: Vec<Operation<'_>>) -> Option<Value> {
        self.item_of(self.place(named), operations)
    }

    /// What all operations of a path take stands on the path itself.
    fn item_of(&self, place: Vec<Parameter>, operations: Vec<Operation<'_>>) -> Option<Value> {
        let taken: Vec<Vec<Parameter>> = operations.iter().map(|operation| parameters_of(&place, operation)).collect();
        let (first, others) = taken.split_first()?;
        let is_shared = |parameter: &Parameter| others.iter().all(|other| other.contains(parameter));
        let shared: Vec<&Parameter> = first.iter().filter(|parameter| is_shared(parameter)).collect();
        let mut item = Map::new();
        if !shared.is_empty() {
            let shared: Vec<Value> = shared.iter().map(|parameter| parameter.json(self.dialect)).collect();
            item.insert("parameters".to_owned(), shared.into());
        }
        for (operation, taken) in operations.iter().zip(&taken) {
            let own = taken.iter().filter(|parameter| !shared.contains(parameter)).map(|parameter| parameter.json(self.dialect));
            item.insert(operation.method.to_owned(), operation.json(&self.frame(), own.collect()));
        }
        Some(Value::Object(item))
    }
}

/// Sorted by name.
fn parameters_of(place: &[Parameter], operation: &Operation<'_>) -> Vec<Parameter> {
    let pretty = (operation.answer != Answer::Whatever).then(Parameter::pretty).flatten();
    let mut all: Vec<Parameter> = place.iter().cloned().chain(pretty).chain(parameters::of_set(operation.parameters)).collect();
    all.sort();
    all
}

/// With a space on either side: `create Endpoints`, `create an Ingress`, `create a Pod`.
fn article(kind: &str) -> &'static str {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        return " ";
    }
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { " an " } else { " a " }
}

fn meta(kind: &str) -> String {
    format!("{META_PACKAGE}.{kind}")
}
