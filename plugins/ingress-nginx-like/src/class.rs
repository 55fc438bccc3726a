//! Which Ingresses are this controller's: by class, by the old annotation, or because nobody else claims those without either.

use serde::Deserialize;

use crate::objects::{Ingress, IngressClass, World};

/// What an IngressClass names as its controller to mean this one; the second is nginx's own, whose users come along.
const CONTROLLERS: &[&str] = &["pintle.dev/ingress-nginx-like", "k8s.io/ingress-nginx"];
const OLD_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Served even where no IngressClass of that name exists.
    classes: Vec<String>,
    /// Unless an IngressClass of another controller is the default.
    serve_without_class: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { classes: vec!["nginx".to_owned(), "pintle".to_owned()], serve_without_class: true }
    }
}

impl Config {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|e| format!("config: {e}"))
    }

    pub fn serves(&self, ingress: &Ingress, world: &World) -> bool {
        let named = ingress.metadata.annotations.get(OLD_ANNOTATION).or(ingress.spec.ingress_class_name.as_ref());
        match named {
            Some(name) => match world.classes.get(name) {
                Some(class) => is_ours(class),
                None => self.classes.contains(name),
            },
            None => {
                let mut defaults =
                    world.classes.values().filter(|c| c.metadata.annotations.get(DEFAULT_ANNOTATION).is_some_and(|v| v == "true")).peekable();
                match defaults.peek() {
                    Some(_) => defaults.any(is_ours),
                    None => self.serve_without_class,
                }
            }
        }
    }
}

fn is_ours(class: &IngressClass) -> bool {
    CONTROLLERS.contains(&class.spec.controller.as_str())
}
