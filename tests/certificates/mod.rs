//! Certificates of our own making, by openssl.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

/// Says why a test cannot run here, if it cannot.
pub fn are_impossible() -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    if missing {
        println!("SKIPPED: no openssl on this machine");
    }
    missing
}

/// Runs openssl in a folder.
fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An authority of our own, `NAME.crt`, and a certificate by it for 127.0.0.1.
pub fn authority(dir: &Path, name: &str) {
    let (bits, days) = ("-newkey rsa:2048 -nodes -sha256", "-days 2");
    openssl(dir, &format!("req -x509 {bits} {days} -keyout {name}.key -out {name}.crt -subj /CN={name}"));
    openssl(dir, &format!("req {bits} -keyout server.key -out server.csr -subj /CN=broker"));
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let by = format!("-CA {name}.crt -CAkey {name}.key -CAcreateserial");
    openssl(dir, &format!("x509 -req -in server.csr {by} {days} -sha256 -extfile names -out server.crt"));
}
