//! How the fleet logs in to Git servers, and its way out, resolved.

/// A login for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidCredential {
    /// Host name of the Git server.
    pub host: String,
    /// Its port, where it is not what the way in means by itself.
    pub port: Option<i32>,
    /// Name of the Secret that holds the login. Its values are never held.
    pub secret: String,
    /// The way in.
    pub login: Login,
    /// A module that is asked for now and then, to see whether the login works.
    pub probe: Option<String>,
}

/// A way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// User and password over https.
    Basic,
    /// A token over https.
    Token {
        /// The user that goes with it.
        username: String,
    },
    /// The host's entry of a netrc file, over https.
    Netrc,
    /// A key over ssh.
    Ssh {
        /// The user at the server.
        user: String,
    },
    /// A token of a GitHub App's installation over https. The pod's sidecar fetches it.
    GitHubApp,
}

/// A proxy on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidEgress {
    /// For https addresses.
    pub https: String,
    /// For http addresses.
    pub http: String,
    /// What is reached past it.
    pub past: Vec<String>,
    /// Name of the Secret that holds the login. Its values are never held.
    pub secret: Option<String>,
}
