//! Whom to trust, and why somebody is not trusted.
use countersign_plugin_api::{Error, Result};
use std::{fmt, io, path::Path, sync::Arc};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    },
};

/// The authorities of a file, each a certificate in PEM.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore> {
    let said = |why: &dyn fmt::Display| Error::new(format_args!("`ca`: {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| said(&error))? {
        roots.add(certificate.map_err(|error| said(&error))?).map_err(|error| said(&error))?;
    }
    if roots.is_empty() { Err(said(&"it holds no certificate in PEM")) } else { Ok(roots) }
}

/// TLS 1.2 and 1.3, trusting the authorities of a file or else of this machine.
pub(crate) fn connector(ca: Option<&Path>) -> Result<TlsConnector> {
    let roots = match ca {
        Some(file) => authorities(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if roots.is_empty() {
        return Err(Error::new(
            "no certificate authority is installed on this machine: install ca-certificates, or give `ca`",
        ));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::new)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why a handshake failed, so that an operator knows what to mend.
pub(crate) fn distrust(error: &io::Error) -> String {
    use CertificateError as Bad;
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let why = match tls {
        None => return format!("TLS: {}", error.kind()),
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => "has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "is not valid yet",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "is for another name",
            // The latter is that of an authority that has the name of a trusted one.
            Bad::UnknownIssuer | Bad::BadSignature => {
                "is signed by no authority that is trusted here; `ca` may name one"
            }
            Bad::Revoked => "is revoked",
            _ => "is not acceptable",
        },
        Some(rustls::Error::InvalidMessage(_)) => return "what it speaks is not TLS".into(),
        Some(_) => return "TLS: the handshake failed".into(),
    };
    format!("its certificate {why}")
}
