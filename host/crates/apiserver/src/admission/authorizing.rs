//! `authorizer` of policies and match conditions: the server's own authorizers, asked about whoever makes the request or a service account.

use std::sync::Arc;

use pintle_cel::{Answer, Authorize, Question, Variables};

use super::request::Request;
use crate::auth::{Attributes, Authorizer, Decision, User};

struct Chain {
    authorizer: Arc<dyn Authorizer>,
    user: Arc<User>,
}

/// Gives expressions `authorizer` and `authorizer.requestResource`.
pub fn authorizing(request: &Request<'_>, variables: &mut Variables<'_>) {
    let scope = request.scope;
    let def = scope.resource.def();
    let about = Question {
        group: def.group.to_string(),
        resource: def.resource.to_string(),
        subresource: scope.subresource.clone(),
        namespace: scope.namespace.clone(),
        name: request.name.to_owned(),
        ..Question::default()
    };
    let who: Arc<dyn Authorize> = Arc::new(Chain { authorizer: request.authorizer.clone(), user: scope.user.clone() });
    variables.set_authorizer(&who, Some(about));
}

fn account(namespace: &str, name: &str) -> User {
    let groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    User { name: format!("system:serviceaccount:{namespace}:{name}"), groups, ..User::default() }
}

impl Authorize for Chain {
    fn answer(&self, question: &Question) -> Answer {
        let other = question.account.as_ref().map(|(namespace, name)| account(namespace, name));
        let user = other.as_ref().unwrap_or(&self.user);
        let attributes = if question.resource.is_empty() {
            Attributes::of_path(user, &question.verb, &question.path)
        } else {
            let Question { group, resource, namespace, name, .. } = question;
            let asked = Attributes::of_resource(user, &question.verb, group, "*", resource, namespace, name);
            Attributes { field_selector: &question.field_selector, ..asked.with_subresource(&question.subresource) }
        };
        match self.authorizer.authorize(&attributes) {
            Decision::Allow => Answer { allowed: true, reason: self.authorizer.reason(&attributes) },
            Decision::Deny(reason) => Answer { allowed: false, reason },
            Decision::NoOpinion => Answer::default(),
        }
    }
}
