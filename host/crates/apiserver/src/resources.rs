//! The table of served resources: each strategy with its place in the cache. Swapped whole when definitions of custom
//! resources change; a request keeps the table it began with.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use pintle_api::object::{MAX_DEPTH, ObjectExt, is_deeper_than};
use pintle_api::schema::{self, TypeRef, presence};
use pintle_api::{GroupVersionResource, Object, ResourceDef, Status};
use pintle_registry::Strategy;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cache::{Cache, Event, Fields, Kind, Slot, Stored};
use crate::conversion::Conversion;

/// A webhook's request and answer are limited, lists are not.
const CONVERTED_AT_ONCE_BYTES: usize = 1 << 20;

pub struct Resource {
    /// Another for each that was ever made: what is kept for one definition is not taken for the next one's.
    pub serial: u64,
    pub strategy: Arc<dyn Strategy>,
    pub slot: Arc<Slot>,
    /// `apps/v1`
    pub api_version: String,
    /// Objects lie in another version's form and are turned on every read and write.
    pub converts: bool,
    /// Made from a CustomResourceDefinition.
    pub custom: bool,
    /// Where a webhook turns the kind's versions into each other.
    pub conversion: Option<Arc<Conversion>>,
}

#[derive(Default)]
pub struct Table {
    /// In the order of discovery.
    pub all: Vec<Arc<Resource>>,
    by_name: HashMap<(String, String), Vec<Arc<Resource>>>,
    /// What other servers serve: discovery tells of it, and namespaces that end ask for it.
    pub foreign: Vec<ResourceDef>,
    /// Where the OpenAPI documents of other servers are: path in the index and URL.
    pub foreign_openapi: BTreeMap<String, String>,
    /// From which definitions the custom resources were made: uid, generation, ending.
    pub stamp: Vec<(String, i64, bool)>,
    /// Discovery and OpenAPI documents made so far, by what they are.
    pub documents: Documents,
}

/// Documents that follow from the table alone, made on first demand and kept packed.
#[derive(Default)]
pub struct Documents(Mutex<HashMap<String, Document>>);

#[derive(Clone)]
pub struct Document {
    pub gzip: Bytes,
    pub etag: String,
}

impl Documents {
    pub fn get_or_make(&self, name: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Document> {
        if let Some(document) = self.lock().get(name) {
            return Some(document.clone());
        }
        let plain = make()?;
        let digest = Sha256::digest(&plain);
        let etag = digest[..16].iter().map(|b| format!("{b:02X}")).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain).ok()?;
        let document = Document { gzip: encoder.finish().ok()?.into(), etag };
        self.lock().insert(name.to_owned(), document.clone());
        Some(document)
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Document>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Document {
    pub fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        let read = flate2::read::GzDecoder::new(&*self.gzip).read_to_end(&mut plain);
        debug_assert!(read.is_ok(), "packed by this server");
        plain
    }
}

impl Resource {
    pub fn new(strategy: Arc<dyn Strategy>, cache: &Cache, custom: bool) -> Self {
        let def = strategy.def();
        let stored = strategy.storage();
        let place = stored.clone().unwrap_or_else(|| def.gvr());
        let converts = stored.is_some_and(|s| s != def.gvr());
        let reader = strategy.clone();
        let read = Box::new(move |object: &Object| {
            if !converts || custom {
                return reader.selectable_values(object);
            }
            let mut own = object.clone();
            reader.from_storage(&mut own);
            reader.selectable_values(&own)
        });
        let fields = Some(Fields { names: strategy.selectable_names(), read });
        let slot = cache.slot(&place.group, &place.resource, fields);
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { serial, api_version: def.api_version(), strategy, slot, converts, custom, conversion: None }
    }

    pub fn def(&self) -> &ResourceDef {
        self.strategy.def()
    }
    pub fn is_namespaced(&self) -> bool {
        self.def().is_namespaced()
    }
    pub fn has_verb(&self, verb: &str) -> bool {
        self.def().verbs.iter().any(|v| v == verb)
    }
    /// Whether the kind's fields are known from a schema of its own, not from upstream's types.
    pub fn has_own_schema(&self) -> bool {
        self.custom || self.strategy.openapi_schema().is_some()
    }
    /// Questions that are answered and never stored (token reviews and the like) cannot be read back.
    pub fn is_stored(&self) -> bool {
        self.has_verb("get") || self.has_verb("list")
    }
    pub fn has_status(&self) -> bool {
        self.def().subresources.iter().any(|s| s.name == "status")
    }
    /// The key in the cache; `namespace` is empty for cluster-scoped resources.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
    }
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.def().group, &self.def().resource, name)
    }
    pub fn list_kind(&self) -> String {
        format!("{}List", self.def().kind)
    }

    /// The object in this version's form. What a webhook has to convert must have been made ready before.
    pub fn parse(&self, stored: &Stored) -> Result<Object, Status> {
        if let Some(json) = self.form(stored) {
            return serde_json::from_slice(&json).map_err(Status::internal);
        }
        let mut object = stored.parse()?;
        if self.conversion.is_some() && object.api_version() != self.api_version {
            return Err(Status::internal(format!("{} {:?} was not converted to {}", self.def().kind, object.name(), self.api_version)));
        }
        if self.converts {
            self.strategy.from_storage(&mut object);
            self.stamp(&mut object);
        }
        Ok(object)
    }
    /// Has a webhook convert what [`Resource::parse`] and [`Resource::wire`] will be asked for. Nothing to do for most kinds. The forms last as long
    /// as these objects are held.
    pub async fn make_ready<'a>(&self, items: impl IntoIterator<Item = &'a Stored> + Send) -> Result<(), Status> {
        let Some(conversion) = &self.conversion else { return Ok(()) };
        let unknown: Vec<&Stored> = items.into_iter().filter(|stored| self.form(stored).is_none()).collect();
        let (mut missing, mut bytes) = (Vec::new(), 0);
        for stored in unknown {
            let object = stored.parse()?;
            if object.api_version() == self.api_version {
                continue;
            }
            missing.push((stored, object));
            bytes += stored.as_slice().len();
            if bytes >= CONVERTED_AT_ONCE_BYTES {
                self.keep_forms(conversion, std::mem::take(&mut missing)).await?;
                bytes = 0;
            }
        }
        if missing.is_empty() { Ok(()) } else { self.keep_forms(conversion, missing).await }
    }
    /// What was told so far stays when a later call fails, so that who comes again gets further.
    async fn keep_forms(&self, conversion: &Conversion, missing: Vec<(&Stored, Object)>) -> Result<(), Status> {
        let (missing, objects): (Vec<&Stored>, Vec<Object>) = missing.into_iter().unzip();
        let converted = conversion.convert(objects, &self.api_version).await?;
        for (stored, mut object) in missing.into_iter().zip(converted) {
            self.strategy.from_storage(&mut object);
            self.stamp(&mut object);
            stored.forms.keep(conversion.serial, &self.api_version, serde_json::to_vec(&object).map_err(Status::internal)?.into());
        }
        Ok(())
    }
    /// The same for one of many watchers, who all come at once.
    pub async fn make_ready_in_turn(&self, items: &[&Stored]) -> Result<(), Status> {
        let Some(conversion) = self.conversion.as_ref().filter(|_| items.iter().any(|stored| self.form(stored).is_none())) else { return Ok(()) };
        let _turn = conversion.turn().await?;
        self.make_ready(items.iter().copied()).await
    }
    fn form(&self, stored: &Stored) -> Option<Bytes> {
        self.conversion.as_ref().and_then(|conversion| stored.forms.get(conversion.serial, &self.api_version))
    }
    /// The object in another version of the same resource.
    pub async fn convert_to(&self, other: &Self, object: &Object) -> Result<Object, Status> {
        if let Some(conversion) = &self.conversion {
            let converted = conversion.convert(vec![object.clone()], &other.api_version).await?;
            return converted.into_iter().next().ok_or_else(|| Status::internal("a conversion gave nothing"));
        }
        let mut object = object.clone();
        self.to_storage(&mut object);
        if other.converts {
            other.strategy.from_storage(&mut object);
        }
        other.stamp(&mut object);
        Ok(object)
    }
    /// Takes out the empty lists and maps that are the same as none. The object as it was, where it had any.
    pub fn leave_out_empties(&self, object: &mut Object) -> Option<Object> {
        let (place, of) = self.typed();
        if !object.pointer(place).is_some_and(|value| presence::leaves_out(value, of)) {
            return None;
        }
        let before = object.clone();
        self.without_empties(object);
        Some(before)
    }
    /// The same where nobody asks what it was.
    pub fn without_empties(&self, object: &mut Object) {
        let (place, of) = self.typed();
        object.pointer_mut(place).into_iter().for_each(|value| presence::leave_out(value, of));
    }
    /// Gives an object the zeros, empty lists and maps that another has where this one has nothing: beside each other they are the same then.
    pub fn take_over_empties(&self, object: &mut Object, other: &Object) {
        let (place, of) = self.typed();
        if let (Some(value), Some(other)) = (object.pointer_mut(place), other.pointer(place)) {
            presence::take_over_empties(value, other, of);
        }
    }
    /// Where the part of an object is that has a built-in type, and which: of custom kinds the metadata.
    fn typed(&self) -> (&'static str, TypeRef<'static>) {
        let types = schema::builtin();
        let kind = if self.custom { None } else { types.for_kind(&self.def().gvk()) };
        kind.map_or_else(|| ("/metadata", types.object_meta()), |kind| ("", kind))
    }
    /// The object as it is stored. Refuses one that could not be read again.
    pub async fn stored_form(&self, object: &Arc<Object>) -> Result<Arc<Object>, Status> {
        let kept = self.in_stored_version(object).await?;
        if is_deeper_than(&kept, MAX_DEPTH) {
            return Err(Status::bad_request(format!("the object, with its managedFields, is nested in more than {MAX_DEPTH} levels")));
        }
        Ok(kept)
    }
    async fn in_stored_version(&self, object: &Arc<Object>) -> Result<Arc<Object>, Status> {
        if let Some(conversion) = &self.conversion {
            let version = conversion.stored_version();
            if object.api_version() == version {
                return Ok(object.clone());
            }
            let converted = conversion.convert(vec![(**object).clone()], version).await?.pop();
            return converted.map(Arc::new).ok_or_else(|| Status::internal("a conversion gave nothing"));
        }
        if !self.converts {
            return Ok(object.clone());
        }
        let mut kept = (**object).clone();
        self.to_storage(&mut kept);
        Ok(Arc::new(kept))
    }
    /// The wire bytes in this version's form: shared where nothing is converted.
    pub fn wire(&self, stored: &Stored) -> Result<Bytes, Status> {
        if !self.converts {
            return Ok(stored.json());
        }
        match self.form(stored) {
            Some(json) => Ok(json),
            None => Ok(serde_json::to_vec(&self.parse(stored)?).map_err(Status::internal)?.into()),
        }
    }
    /// The object that a watcher is told of, in this version's form.
    pub fn wire_of(&self, event: &Event, kind: Kind) -> Result<Bytes, Status> {
        match (kind, event.state(kind)) {
            (Kind::Deleted, Some(last)) if self.converts => {
                let mut object = self.parse(last)?;
                object.set_at(&["metadata", "resourceVersion"], json!(event.revision.to_string()));
                Ok(serde_json::to_vec(&object).map_err(Status::internal)?.into())
            }
            (Kind::Added | Kind::Modified, Some(stored)) => self.wire(stored),
            _ => Ok(Stored::object_of_line(&event.line(kind), kind)),
        }
    }
    pub fn to_storage(&self, object: &mut Object) {
        if self.converts {
            self.strategy.to_storage(object);
        }
    }
    /// Sets `apiVersion` and `kind`.
    pub fn stamp(&self, object: &mut Object) {
        object.set_at(&["apiVersion"], json!(self.api_version));
        object.set_at(&["kind"], json!(self.def().kind));
    }
}

pub fn no_such_resource() -> Status {
    Status::new(404, pintle_api::Reason::NotFound, "the server could not find the requested resource")
}

impl Table {
    pub fn new(strategies: impl IntoIterator<Item = (Arc<dyn Strategy>, bool)>, cache: &Cache) -> Self {
        let mut table = Self::default();
        strategies.into_iter().for_each(|(strategy, custom)| table.add(Arc::new(Resource::new(strategy, cache, custom))));
        table
    }
    /// The same built-in resources with these custom ones.
    pub fn with_custom(&self, custom: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut table = Self::default();
        self.all.iter().filter(|r| !r.custom).for_each(|r| table.add(r.clone()));
        custom.into_iter().for_each(|r| table.add(r));
        table.foreign = self.foreign.clone();
        table.foreign_openapi = self.foreign_openapi.clone();
        table
    }
    /// The same with other resources of other servers.
    pub fn with_foreign(&self, foreign: Vec<ResourceDef>) -> Self {
        self.with_others(foreign, self.foreign_openapi.clone())
    }
    /// The same with other OpenAPI documents of other servers.
    pub fn with_foreign_openapi(&self, foreign_openapi: BTreeMap<String, String>) -> Self {
        self.with_others(self.foreign.clone(), foreign_openapi)
    }
    fn with_others(&self, foreign: Vec<ResourceDef>, foreign_openapi: BTreeMap<String, String>) -> Self {
        let mut table = Self { stamp: self.stamp.clone(), foreign, foreign_openapi, ..Self::default() };
        self.all.iter().for_each(|r| table.add(r.clone()));
        table
    }
    /// Everything that discovery tells of.
    pub fn defs(&self) -> Vec<&ResourceDef> {
        self.all.iter().map(|r| r.def()).chain(&self.foreign).collect()
    }
    fn add(&mut self, resource: Arc<Resource>) {
        let def = resource.def();
        let name = (def.group.to_string(), def.resource.to_string());
        self.by_name.entry(name).or_default().push(resource.clone());
        self.all.push(resource);
    }
    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Resource>> {
        // A short list: the versions of one resource.
        let versions = self.by_name.get(&(group.to_owned(), resource.to_owned()))?;
        versions.iter().find(|r| r.def().version == version)
    }
    pub fn find(&self, gvr: &GroupVersionResource) -> Option<&Arc<Resource>> {
        self.get(&gvr.group, &gvr.version, &gvr.resource)
    }
    pub fn has_group_version(&self, group: &str, version: &str) -> bool {
        self.all.iter().any(|r| r.def().group == group && r.def().version == version)
    }
}
