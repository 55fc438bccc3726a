//! Who may approve and sign which certificate requests, and the one subject that nobody gets that way.
//!
//! Admission checks, pure over their arguments, run for writes of CertificateSigningRequests.

use pintle_api::object::ObjectExt;
use pintle_api::{Object, Status};

use super::certificate_request::{CLIENT, GROUP, subject_of};
use super::{Attributes, Authorizer, Decision, SUPERUSERS, User};

/// `subresource` is empty for a creation, `approval` or `status` for an update.
pub fn admit(authorizer: &dyn Authorizer, user: &User, subresource: &str, new: &Object, old: Option<&Object>) -> Result<(), Status> {
    let signer = new.str_at(&["spec", "signerName"]);
    let refuse = |why: String| Err(Status::forbidden(GROUP, "certificatesigningrequests", new.name(), &why));
    if subresource.is_empty() {
        let asks_for_all = old.is_none() && signer == CLIENT && subject_of(new).is_ok_and(|(_, groups)| groups.iter().any(|g| g == SUPERUSERS));
        return if asks_for_all { refuse(format!("use of {CLIENT} signer with {SUPERUSERS} group is not allowed")) } else { Ok(()) };
    }
    let certificate = |o: Option<&Object>| o.map(|o| o.str_at(&["status", "certificate"]).to_owned()).unwrap_or_default();
    let conditions = |o: Option<&Object>| o.map(|o| o.list_at(&["status", "conditions"]).to_vec()).unwrap_or_default();
    let signs = || certificate(Some(new)) != certificate(old) || conditions(Some(new)) != conditions(old);
    let verb = match subresource {
        "approval" => "approve",
        // To say that signing failed is the signer's as well.
        "status" if signs() => "sign",
        _ => return Ok(()),
    };
    // A right on one signer, or on all of its domain.
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*")).unwrap_or_default();
    let may = [signer, &domain]
        .iter()
        .any(|name| authorizer.authorize(&Attributes::of_resource(user, verb, GROUP, "v1", "signers", "", name)) == Decision::Allow);
    if may { Ok(()) } else { refuse(format!("user not permitted to {verb} requests with signerName {signer:?}")) }
}
