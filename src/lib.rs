//! goproxy-operator keeps fleets of Go module proxies alive on Kubernetes: one `GoProxy` resource in, proxies of one engine
//! (Athens, or goproxy) with their storage, network rules and rollouts out.
//!
//! This page is the architecture. It is kept true: a change that breaks a sentence here changes the sentence or is wrong.
//!
//! # How data flows
//!
//! One direction, once per reconcile, each step a room of its own:
//!
//! ```text
//!  cache      observe      plan            apply            status
//!  watches ─▶ snapshot ─▶ decision ─────▶ writes ────────▶ one patch, if something other than time changed
//!  (IO)       (memory)    (pure)          (IO)             (pure, then IO)
//! ```
//!
//! | Room | What happens there | What never happens there |
//! |---|---|---|
//! | [`api`] | what users write and read; CEL rules; the CRD | defaults with consequences |
//! | [`plan::validate`] | raw spec to `ValidFleet`: every rule, every default, once | partial validity |
//! | [`plan`] | everything that shall be, the one step taken, why not more | a client, a runtime, a clock |
//! | [`plan::object`] | one builder per kind; the only place that formats names | failing |
//! | [`engine`] | all that is peculiar to one engine or one release of it | knowledge of Kubernetes objects beyond a pod |
//! | [`gomod`] | what Go says about module paths, versions and patterns | an opinion of ours about them |
//! | [`edge`] | what an edge decides about a request: path, address, token, role, revision, mirror | a socket, a file, a clock, but in its last room |
//! | [`edge::agent`] | what runs beside nginx: it watches, asks the rooms around it, pushes and tells | decisions |
//! | `cache`, `observe` | watches, the little that is kept of each child | decisions |
//! | `apply` | server-side apply, in order; fences; pruning | choices |
//! | [`status`] | the report in words; conditions | facts that cannot be derived again |
//! | [`import`] | somebody's Athens read, made a `GoProxy`, and what that lacks told | a cluster; a secret printed |
//! | [`sidecar`] | what a proxy's pod knows of itself, for whoever asks; what was cut off on its volume, removed; tokens, fetched | a word to the API server |
//! | [`reports`] | sidecars asked, and their answers brought down to what a plan goes by | decisions |
//! | `leader` | the lease, decided by a pure function | trust in wall clocks |
//!
//! An edge's pod is nginx and the agent ([`edge::agent`]). What changes while clients are served is pushed into nginx's memory; the script
//! there looks decisions up and asks the agent for others, each of which is one call of [`edge::decide::decide`]. What pods and the operator
//! agree on is in [`plan::edge`]. Mirrors, limits and keys of tokens are rooms without anybody in them yet; checksum databases are passed on
//! as the engine does.
//!
//! Start reading at [`plan::plan`]: one screen, from [`plan::Observed`] to [`plan::Plan`].
//!
//! # What holds, always
//!
//! 1. **The plan is pure.** The import list is the proof: nothing under `plan/` outside tests names a client, tokio or a
//!    clock; `now` is a field of the snapshot. The same snapshot gives the same plan, and planning again over a finished
//!    plan changes nothing.
//! 2. **At rest nothing is written.** A child is read once per change, projected on the fields that our field manager owns
//!    and digested; equal digests mean there is nothing to send, after a restart too. A status is written when
//!    something other than time changed.
//! 3. **A revision is a text.** What pods are made of is rendered once and stored in a `ControllerRevision`; its
//!    Deployment and ConfigMap are made from that text alone. Its name is a digest of what the *user* said, in Secrets too where those may be read, so another
//!    default or a label added by a newer operator restarts no pod, and going back is exact. What an edge's pods are made of is such
//!    a text as well, of which the last is kept (`plan::edge::record`). Raising
//!    `engine::contract::ENGINE_CONTRACT` is the one way to roll fleets on purpose, a handful at a time, and no more
//!    once a handful does not get on (`controller::slots` has the rule and its reasons). Where somebody
//!    deleted the text of the revision that serves, what is left of it is not touched until clients have moved on; on a
//!    volume or on storage that proxies share it ends before that, because nobody knows any more how it locks. The revision
//!    that the spec asks for is rendered again under its name, by the defaults of this operator.
//! 4. **One writer is one writer.** Where two proxies would damage what is stored, and where two revisions do not use the
//!    same storage with the same lock, no pod of one revision is created before every pod of the other is gone, asked
//!    of the API server itself at the moment of the write (`engine::coordination` has the table). Within a revision,
//!    where two proxies would do damage, anti-affinity to the fleet's own pods keeps the replacement of a deleted pod
//!    waiting until the old one has really ended.
//! 5. **Clients move in one patch.** The Service's selector names the revision that serves, and its annotation says since
//!    when. That is the only memory of a rollout, so a status wiped at any moment loses nothing. Where the selector leads to an
//!    edge, an annotation names the revision; clients come to an edge, and leave it, in a patch of its own ([`plan::front`]).
//! 6. **What is not ours stays.** Objects are created by an apply that fails when the name exists; a foreign one is
//!    reported as `NameTaken`. Pruning goes by owner uid and resourceVersion. Volumes are deleted with a fleet only when
//!    the spec says so *and* an annotation confirms it; then the volume gets an owner reference and garbage collection
//!    does it, so there is no finalizer that could hang. A volume that the fleet does not use any more loses that owner.
//!    A claim that a fleet takes over (`storage.disk.existingClaim`) is only ever mounted: no builder makes it, and no pod is
//!    started on it while a pod of anybody else mounts it.
//! 7. **A deposed leader changes nothing.** Leadership is checked on the monotonic clock before every write, and a write
//!    that is still on its way when the permit ends is called back; the lease itself lasts some seconds longer. Moving
//!    clients, scaling down, pruning and starting on a volume carry the resourceVersion they were planned on, so two
//!    leaders never both take the same step. A start also asks for the other revisions' Deployments and
//!    pods just before, because a version of one Deployment says nothing about another's. Who begins to lead lists everything
//!    anew first, as it is and not as some cache has it, so that the last writes of the leader before are known. The rollout
//!    is checked in every order of events that a small world allows, by the real plan (`src/plan/model.rs`).
//! 8. **Errors are enums**, one per step, with the object in the variant. A malformed object never stops the others.
//!
//! # Decisions that differ from common practice, and why
//!
//! * **No admission webhook.** Schema and CEL refuse at apply time; the operator refuses the same inputs again, and a corpus
//!   of inputs is sent to both to hold them together. A webhook would be one more thing that can be down.
//! * **`spec.replicas` is the one default in the schema.** The scale subresource has nothing to show without it.
//!   All others are resolved by the operator and shown in `status.effective`, so that a stored object holds only
//!   what its owner said.
//! * **Creation by apply with an impossible resourceVersion.** A plain server-side apply would merge into a foreign
//!   object of the same name; a plain create would register an owner of fields that later applies cannot remove. An
//!   apply that carries a resourceVersion creates an absent object and conflicts with an existing one. A test
//!   holds the oldest and the newest supported server to that.
//! * **Redis is asked over TLS unless the spec says otherwise.** Its password would cross the network in clear, and a fleet that
//!   does not start because a server speaks no TLS says so at once; one that leaks says nothing. That of `lock.managedRedis` does
//!   cross the pods' network in clear: it opens a server that holds nothing but locks, and that only the fleet's pods can reach.
//! * **Two engines, and no trait.** They differ in data: arguments, files, paths, what they lack. Each fills an
//!   [`engine::Program`], and one match picks which. What an engine lacks and which releases are refused are tables; the CRD's
//!   CEL rules are made from the same tables that [`plan::validate`] reads.
//! * **Fleet names cannot end in `-engine`, `-origin`, `-edge`, `-data` or `-lock`**, because those endings are names of other
//!   fleets' objects: so two fleets never meet on a child's name.
//! * **A fleet may name any ServiceAccount of its namespace**, one with more rights too. No proxy and no Redis mounts a token of
//!   its account, so those rights are out of its reach, and a policy that compares rights would guard nothing. What a cloud gives to an
//!   account by its own means does reach the proxies: that is what `engine.serviceAccount` is for. So whoever may write a
//!   namespace's fleets can use the cloud roles of its accounts; keep a role that they shall not have in another namespace.
//! * **A login that is missing costs its host, not the fleet.** Logins for Git servers are mounted as optional files of one
//!   volume, and a helper of a few lines of shell hands them to git at every call. So they rotate without a restart, are in no
//!   argument and no environment, and a fleet starts and serves what it has while a Secret is missing; the engine's log, and its
//!   answer to a question for versions, names the host, the Secret's key and the field.
//! * **A login at a proxy on the way out is in an environment, and nowhere else** (`engine::contract`, `way_out`). go and git take it from
//!   there alone, as a part of the proxy's address, and so does the engine for what it asks itself. Both quote an address that they cannot
//!   read, in logs and in answers to clients. So a few lines of shell encode every character that could mean something, and become the
//!   engine then; a fleet without such a login is started without a shell.
//! * **Of a Secret, a digest is known, and only where it may be read** (`plan::secret`). What the engine reads at its start alone
//!   reaches it with new pods, so in the namespaces that an installation lists (`--fleet-namespaces`) the digests of such Secrets are
//!   part of what makes a revision. Each is made while the Secret is decoded, and keyed with its uid: the name of a revision is read by many
//!   who may not read Secrets, and must not let them try out passwords. A Secret that is gone, or may not be read any more, starts
//!   nothing (`plan::revision`): most often it is made anew at once. Elsewhere no Secret is ever read, and whoever changed one says so by an
//!   annotation of the fleet, whose value is digested like a field of the spec.
//! * **A bucket, a database or a volume has one fleet** (`plan::ownership`). Who is there keeps it, and among those that only
//!   want it the older one gets it: by age alone, an old fleet whose spec is changed would drive out one that serves. Places are
//!   compared by what tells servers apart, so that one written in several ways is one; and a fleet's own volume is one that
//!   others can name as `storage.disk.existingClaim`. Other fleets reach the pure plan as
//!   `Observed::claims`, from an index that the cache keeps as it is told of fleets and revisions; a change at a place has
//!   the others there looked at again. What a MongoDB Secret leads to is not read, so that two Secrets are two places.
//! * **A proxy's pod has a sidecar where something is known there alone**: how full a volume is, whether a lock by reference
//!   answers, which login stopped working, whether a file was cut off in the middle of its writing. Of a volume, the API server
//!   hands the kubelet's figures out to whoever may use `nodes/proxy`, which opens every pod of the node; a program run in a pod
//!   to look needs `pods/exec`. To ask a lock or a Git server itself, the operator would need their logins, and would see a
//!   network other than the proxies'. A sidecar needs none of it: it is in the right place, and mounts what the engine does. It
//!   says nothing about whether the pod is ready, and a pod with nothing of all that gets none.
//! * **The operator comes and asks** (`reports`), every quarter minute, and only whoever leads. A sidecar that wrote to the API
//!   server would be a token in every engine's pod, and a write for each change of a figure; one that told the operator would need
//!   an address that every pod of every namespace may reach. Of an answer, words and levels are kept (`plan::sight`): with
//!   hysteresis, because a volume that stays at its bound must not write a status each time. A pod that is silent is unknown and
//!   not bad: what was told before stays (`plan::inside`).
//! * **A sidecar's image is no part of what makes a revision.** It comes with the next one. So an upgrade of the operator restarts
//!   no proxy, and one operator hears sidecars of several releases: of an answer, what it does not know it passes over.
//! * **A second operator on one bucket is told of by a mark in it** (`goproxy-operator/owner.json`): what other operators' fleets
//!   say and do reaches this one by no other way. Proxies have the bucket's keys, so their sidecars leave the mark, renew it
//!   every hour, and take over one that was not renewed for three. Fleets are told apart by their uids. Nothing follows from it
//!   but `StorageExclusive`: two operators that stop each other's fleets would be worse. It is so for `storage.s3` with keys;
//!   where the pod's own role opens the bucket, and for other stores, give each fleet a bucket that nobody else can open.
//! * **A volume that fills up is a condition before it is full**: `VolumeHasRoom`, NearlyFull below a tenth, Full below a
//!   hundredth or 32 MiB (a twentieth, where the volume is small), by bytes or by files. On a full volume what is stored is served, and a miss fails. Athens writes in
//!   place, so that a file that it began there would be answered as it is, empty or cut off; the sidecar removes such a version
//!   once nobody can be writing at it any more, and the next question fetches it anew. Until then a go command that knows a
//!   checksum of it refuses it. The chart's alerts on kubelets' figures stay for volumes of proxies without a sidecar.
//! * **The key of a GitHub App stays with the sidecar.** Whoever has it can have any token of the App. The engine's git gets a
//!   token of one installation, from a file in memory that both mount, which is another one every forty minutes.
//! * **The login of `lock.managedRedis` is made once, and known by its name alone** (`plan::login`, `apply::login`). The password is drawn
//!   where the Secret is created, and is in no plan, object of ours or answer that is read. It is a plain create: an apply needs
//!   `patch`, whose answer shows what any Secret holds. The name has a random part, drawn for each snapshot (`Observed::nonce`) and
//!   used only where no login is known, so that the plan stays a function of its snapshot. The StatefulSet and the records of
//!   revisions remember the name. Where somebody deleted the Secret, what runs goes on; once a pod does not start for it, a trial
//!   run of creating it says that it is gone, and the next plan names another one: Redis starts anew with it, and the proxies follow
//!   as in any change of the lock, old ones first out. So no login is ever changed under those who use it. What is left of an old one is the
//!   fleet's and goes with it. Redis itself is a StatefulSet, at most one pod, without the label by which proxies are known.
//! * **An edge is no part of a revision.** Turning one on or off restarts no proxy, and the digest of a revision's inputs does not know
//!   it. What its pods shall do is an `EdgeState` that is written last, after the Service which decides it; each pod answers there with
//!   the number of the settings that it serves by. An old revision ends once every pod of the edge has answered for the next one: a pod
//!   that is silent may still lead clients to it. The proxies let in nobody else once all have had time to come to the edge, and everybody
//!   before clients leave it. An edge that fails is not gone round: with it would go whatever it guards.
//! * **An edge's Role is made by the operator**, because it names the one object that the edge may read. So the operator may write Roles and
//!   bind them, and holds the rights that it puts into them; API servers refuse it any that it does not hold.
//! * **What an edge keeps lives as long as its pod**, on the node or on a volume. A volume that outlives the pod would be claimed by the
//!   StatefulSet, where no size or class can ever change; and what is lost is fetched again from proxies that have it.
//! * **Ready means that clients are served**, by the newest spec or by the last good one; `Reconciling` and `Stalled` say how
//!   the newest one fares. A bad image under a running fleet is `Ready=True, Stalled=True`. A fleet that lost the storage it served from
//!   is neither reconciling nor stalled: it serves again once that is back (`plan::unready`).
//! * **A storage that does not answer is told of by readiness.** The engine asks it there and keeps the answer to itself, so
//!   `NotReady` names the field and not the cause. Only what keeps the engine from starting is told in its own words: `gcs` and `minio`,
//!   whose bucket it reads or makes first, and a managed identity of `azureBlob`, whose token it asks for.
//! * **The loss of a lock by reference is told of by sidecars** (`LockReady`): the engine has no word for it but in answers to
//!   clients. They ask without a login, so that a wrong one is no loss of the lock; that is told of when a proxy starts. Of etcd
//!   more than half of the members have to answer, of sentinels and of a cluster's nodes one.
//!
//! # What was run, and against what
//!
//! The configuration for every back-end has a snapshot. Beyond that, in stories of the tier `services`:
//!
//! | Field | What the engine met |
//! |---|---|
//! | `storage.memory`, `storage.disk` | themselves: a node's directories, and one directory for many writers |
//! | `storage.s3`, `storage.minio` | versitygw on a directory, with static keys. Not: roles of a pod, AWS itself |
//! | `storage.gcs` | fake-gcs-server behind Google's names and TLS, through `upstream.egressProxy` and `upstream.caBundle`. It looks at the token, and nobody at the key that it was given for. Not: a pod's own identity |
//! | `storage.mongo` | FerretDB on SQLite, in clear and without a login. Not: MongoDB itself, TLS |
//! | `storage.azureBlob` | nothing that answers: the engine starts with a key, and asks exactly the account's address. Not: whatever comes after that, its own lock, a managed identity |
//! | `storage.external` | a service of the lab's own that keeps files. Not: TLS, somebody else's service |
//! | `lock.redis`, `lock.managedRedis` | Redis: plain, over TLS, with a user, behind sentinels, as a cluster of three. Not: a cluster over TLS |
//! | `lock.etcd` | etcd, one member |
//! | `private.credentials[].gitHubApp` | nothing that is GitHub |
//! | `lock.native` | with `gcs`, as above |
//! | `upstream.egressProxy` | tinyproxy, for go, git and both engines; with a login, for go and Athens itself. Not: git and goproxy with a login, a proxy that is asked over TLS |
//! | goproxy as engine | `storage.disk`, mirrors, a checksum database |

pub mod api;
pub mod apply;
pub mod backoff;
pub mod cache;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod controller;
pub mod crds;
pub mod edge;
pub mod engine;
pub mod events;
pub mod gomod;
pub mod health;
pub mod http;
pub mod import;
pub mod leader;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod render;
pub mod reports;
pub mod sidecar;
pub mod status;
pub mod telemetry;
