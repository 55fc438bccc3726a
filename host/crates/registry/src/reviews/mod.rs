//! `authentication.k8s.io` and `authorization.k8s.io`: questions that are answered and never stored. Only their descriptions are here;
//! the handlers answer them.

use super::def::{cluster, namespaced};
use super::kind::Kind;
use super::strategy::Strategy;

pub fn all() -> Vec<Box<dyn Strategy>> {
    vec![
        Kind::new(cluster("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview").verbs(&["create"])).boxed(),
        Kind::new(cluster("authentication.k8s.io/v1", "tokenreviews", "TokenReview").verbs(&["create"])).boxed(),
        Kind::new(namespaced("authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview").verbs(&["create"])).boxed(),
        Kind::new(cluster("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview").verbs(&["create"])).boxed(),
        Kind::new(cluster("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview").verbs(&["create"])).boxed(),
        Kind::new(cluster("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview").verbs(&["create"])).boxed(),
    ]
}
