//! An encrypted connection: a small terminator of TLS in front of the server, with a certificate of our own making.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hearth::home::device::{Health, Order};
use hearth::home::hass::{HomeAssistant, HomeAssistantConfig};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::fake::{Door, Fake};
use super::{apply, block_on, certificates, until};

/// Takes encrypted connections and passes them on in the clear; gives its port.
fn terminator(dir: &Path, to: u16) -> u16 {
    let certificate = CertificateDer::from_pem_file(dir.join("server.crt")).expect("it was made");
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).expect("it was made");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("there are some").with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("this machine has ports");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("the configuration is right");
            let server = TcpStream::connect(("127.0.0.1", to)).expect("it listens");
            std::thread::spawn(move || pass(StreamOwned::new(connection, client), server));
        }
    });
    port
}

fn pass(mut sealed: StreamOwned<ServerConnection, TcpStream>, mut plain: TcpStream) {
    let pause = Some(Duration::from_millis(5));
    sealed.sock.set_read_timeout(pause).expect("not zero");
    plain.set_read_timeout(pause).expect("not zero");
    let mut bytes = vec![0; 1 << 16];
    loop {
        let (from_client, from_server) = (sealed.read(&mut bytes), plain_after(&mut sealed, &mut plain));
        let gone = match from_client {
            Ok(0) => true,
            Ok(count) => plain.write_all(&bytes[..count]).is_err(),
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        if gone || !from_server {
            return;
        }
    }
}

/// What the server sent meanwhile; false when it is gone.
fn plain_after(sealed: &mut StreamOwned<ServerConnection, TcpStream>, plain: &mut TcpStream) -> bool {
    let mut bytes = vec![0; 1 << 16];
    match plain.read(&mut bytes) {
        Ok(0) => false,
        Ok(count) => sealed.write_all(&bytes[..count]).and_then(|()| sealed.flush()).is_ok(),
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[test]
fn an_encrypted_server_is_trusted_by_its_certificate() {
    if certificates::are_impossible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    certificates::authority(dir.path(), "stranger");
    certificates::authority(dir.path(), "own");
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "not-a-real-token").expect("it is written");
    block_on(async {
        let fake = Fake::start(Door::Open).await;
        let port = terminator(dir.path(), fake.port);
        let connect = |ca: &str| {
            let config = HomeAssistantConfig {
                url: Some(format!("https://127.0.0.1:{port}")),
                token_file: Some(token_file.clone()),
                ca_file: Some(dir.path().join(ca)),
            };
            HomeAssistant::start(&config).expect("the configuration is right")
        };
        let home = connect("own.crt");
        assert_eq!(home.ready(Duration::from_secs(5)).await, Health::Ready);
        let (result, took) = apply(&home, "light.kitchen", &Order::On).await;
        assert_eq!(result.map(|state| state.on), Ok(Some(true)));
        println!("an encrypted call: {} ms", took.as_millis());
        let stranger = connect("stranger.crt");
        let refused = || matches!(stranger.health(), Health::Connecting(why) if why.contains("certificate"));
        until("the certificate is refused", 5, refused).await;
        assert_eq!(fake.calls(), ["light.turn_on"]);
    });
}
