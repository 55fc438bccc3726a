//! The CNI configuration that the container runtime reads: bridge and host-local for addresses, portmap for host ports. The
//! runtime adds the loopback network by itself.

use std::path::Path;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::NetworkError;
use super::interfaces::BRIDGE;

const FILE: &str = "10-pintle.conflist";

/// Writes the file unless it is there as wanted. Whole or not at all: the runtime may read at any moment.
pub fn write(conf_dir: &Path, ipam_dir: &Path, cidr: Ipv4Net) -> Result<(), NetworkError> {
    let path = conf_dir.join(FILE);
    let text = format!("{:#}\n", configuration(ipam_dir, cidr));
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    let draft = conf_dir.join(format!(".{FILE}.new"));
    let file_error = |error| NetworkError::File { path: path.clone(), error };
    std::fs::create_dir_all(conf_dir).map_err(file_error)?;
    std::fs::create_dir_all(ipam_dir).map_err(file_error)?;
    std::fs::write(&draft, text).map_err(file_error)?;
    std::fs::rename(&draft, &path).map_err(file_error)
}

fn configuration(ipam_dir: &Path, cidr: Ipv4Net) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pintle",
        "plugins": [
            {
                "type": "bridge", "bridge": BRIDGE, "isGateway": true, "hairpinMode": true, "ipMasq": false,
                "ipam": {
                    "type": "host-local", "dataDir": ipam_dir,
                    "ranges": [[{"subnet": cidr.to_string()}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_written_once_and_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (conf, ipam) = (dir.path().join("net.d"), dir.path().join("ipam"));
        write(&conf, &ipam, "10.244.3.0/24".parse().unwrap()).unwrap();
        let first = std::fs::metadata(conf.join(FILE)).unwrap().modified().unwrap();
        write(&conf, &ipam, "10.244.3.0/24".parse().unwrap()).unwrap();
        assert_eq!(std::fs::metadata(conf.join(FILE)).unwrap().modified().unwrap(), first);
        let text: Value = serde_json::from_str(&std::fs::read_to_string(conf.join(FILE)).unwrap()).unwrap();
        assert_eq!(text["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.3.0/24");
        assert_eq!(std::fs::read_dir(&conf).unwrap().count(), 1, "no draft stays");
    }
}
