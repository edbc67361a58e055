//! What a connection to a server of the home trusts: the certificates of the system, or a file of one's own.
//!
//! Reads files when a backend is started, and nothing after. Names and dates of a certificate are always checked; there is
//! no way to switch that off. A server with a certificate of its own making is trusted through `ca_file`.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// What to trust: the certificates in `ca_file` and nothing else, or those that the system trusts.
///
/// # Errors
/// When there is no certificate to go by; in words that can follow the name of the setting.
pub(super) fn trust(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let wrong = |what: String| format!("ca_file {}: {what}", path.display());
            let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
        }
        None => {
            // Some of what a system trusts may be damaged; the rest is good.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("ca_file: the system trusts no certificates, name the file of one to trust".to_owned());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_certificates_are_named() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let check = |content: Option<&str>, expected: &str| {
            let path = dir.path().join("ca.pem");
            let _ = std::fs::remove_file(&path);
            if let Some(content) = content {
                std::fs::write(&path, content).expect("the folder is writable");
            }
            let error = trust(Some(&path)).expect_err(expected);
            assert!(error.contains("ca_file") && error.contains(expected), "{error}");
        };
        check(None, "ca.pem");
        check(Some(""), "no certificate in it");
        check(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ca.pem");
    }
}
