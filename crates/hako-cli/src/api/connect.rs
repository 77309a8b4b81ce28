//! One connection to the engine: unix socket, TCP, or TLS over TCP.

use super::Host;
use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream to the engine.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// `--tls`, `--tlsverify` and their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFlags {
    /// TLS is wanted.
    pub(crate) enabled: bool,
    /// The engine's certificate is checked.
    pub(crate) verify: bool,
    /// Authorities that may have signed it.
    pub(crate) ca: Option<PathBuf>,
    /// The client's certificate.
    pub(crate) cert: Option<PathBuf>,
    /// The client's key.
    pub(crate) key: Option<PathBuf>,
}

/// Connects to `host`.
pub(crate) async fn connect(host: &Host, tls: &TlsFlags) -> std::io::Result<Box<dyn Io>> {
    match host {
        Host::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Host::Tcp { address, tls: scheme } => {
            // The one name that needs no resolver; others go through the C library's.
            let local = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
            let stream = TcpStream::connect(local.as_deref().unwrap_or(address)).await?;
            stream.set_nodelay(true)?;
            if tls.enabled || *scheme {
                Ok(Box::new(secure(stream, address, tls).await?))
            } else {
                Ok(Box::new(stream))
            }
        }
    }
}

async fn secure(stream: TcpStream, address: &str, tls: &TlsFlags) -> std::io::Result<impl Io + use<>> {
    let config = config(tls).map_err(|err| std::io::Error::other(err.to_string()))?;
    let name = address.rsplit_once(':').map_or(address, |(name, _)| name).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn config(tls: &TlsFlags) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|err| Error::msg(err.to_string()))?;
    let builder = if tls.verify {
        builder.with_root_certificates(roots(tls)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(unverified::AnyCertificate(provider)))
    };
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else { return Ok(builder.with_no_client_auth()) };
    if !cert.exists() && !key.exists() && !tls.verify {
        return Ok(builder.with_no_client_auth());
    }
    let unreadable = |path: &PathBuf, err: &dyn std::fmt::Display| Error::msg(format!("{}: {err}", path.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(cert)
        .map_err(|err| unreadable(cert, &err))?
        .collect::<std::result::Result<_, _>>()
        .map_err(|err| unreadable(cert, &err))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|err| unreadable(key, &err))?;
    builder.with_client_auth_cert(chain, key).map_err(|err| Error::msg(err.to_string()))
}

fn roots(tls: &TlsFlags) -> Result<rustls::RootCertStore> {
    let path = tls.ca.as_ref().ok_or_else(|| Error::msg("--tlsverify needs --tlscacert"))?;
    let unreadable = |err: &dyn std::fmt::Display| Error::msg(format!("{}: {err}", path.display()));
    let mut store = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|err| unreadable(&err))? {
        store.add(cert.map_err(|err| unreadable(&err))?).map_err(|err| unreadable(&err))?;
    }
    Ok(store)
}

/// `--tls` without `--tlsverify`: encrypted, the other side not checked, as Docker's.
mod unverified {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
