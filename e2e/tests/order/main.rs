//! The order of creation does not matter: a VM that is launched before its disk exists anywhere waits, then boots.

mod consumers;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::testing::objects::{self, Mode};
use vmdisk_e2e::testing::{Scene, bed, scenario, until};
use vmdisk_e2e::vm::disk::{self, Disk};
use vmdisk_e2e::vm::pod::Machine;
use vmdisk_e2e::vm::{console, container_disk, image};

/// Random data for the guest to read back.
const PAYLOAD: u64 = 16 << 20;

const SOON: Duration = Duration::from_mins(1);

/// For a boot without KVM on a machine where other tests run.
const BOOT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn vm_first_claim_second_image_last_still_boots() {
    scenario("order", async |scene| {
        let machine = machine().await?;
        // What waits for a consumer has one from the start here; what binds at once does so without.
        let classes = [("waits", "STORAGE_CLASS_WFFC"), ("at-once", "STORAGE_CLASS_IMMEDIATE")];
        for (name, class) in classes {
            launch(scene, name, &bed::variable(class)?, &machine).await?;
        }
        let disk = publish(scene, "disk-of-order").await?;
        for (name, _) in classes {
            boots(scene, name, &disk).await.with_context(|| format!("the VM whose claim is {name}"))?;
        }
        Ok(())
    })
    .await;
}

/// A VM and then its claim, both of which wait.
async fn launch(scene: &Scene, name: &str, class: &str, machine: &str) -> Result<()> {
    let vm = Machine {
        name: name.to_owned(),
        namespace: scene.namespace.clone(),
        image: machine.to_owned(),
        claim: name.to_owned(),
    };
    scene.create(&vm.pod()?).await?;
    let what = "the scheduler looked for its claim";
    until::holds(&scene.api::<Pod>(), name, what, SOON, |pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    })
    .await?;
    scene.create(&objects::claim_of(name, "image", "512Mi", Mode::Filesystem, class)?).await?;
    until::probed("the claim is told that its image does not exist", SOON, async || {
        let events = scene.api::<Event>().list(&ListParams::default()).await?;
        let told = |event: &Event| {
            event.involved_object.name.as_deref() == Some(name)
                && event.reason.as_deref() == Some("PopulatorDataSourceNotFound")
        };
        Ok(events.iter().any(told).then_some(()))
    })
    .await?;
    let claim = scene.api::<PersistentVolumeClaim>().get(name).await?;
    ensure!(!objects::is_bound(&claim), "{} is bound before its image exists", claim.name_any());
    Ok(())
}

/// Makes a disk, pushes it, and only then creates the image that names it.
async fn publish(scene: &Scene, nonce: &'static str) -> Result<Disk> {
    let repository = format!("{}/{}", bed::variable("REGISTRY")?, scene.namespace);
    let (reference, ca) = (format!("{repository}:1"), bed::path("CA_FILE")?);
    let url = format!("docker://{reference}");
    let disk = blocking(move || {
        let dir = tempfile::tempdir().context("cannot make a scratch directory")?;
        let file = dir.path().join("disk.qcow2");
        let disk = disk::build(&file, nonce, PAYLOAD)?;
        container_disk::pack(&file, &dir.path().join("layout"))?.push(&reference, &ca)?;
        Ok(disk)
    })
    .await?;
    scene.create(&objects::ca()?).await?;
    scene.create(&objects::tls_image("image", &url)).await?;
    Ok(disk)
}

/// The VM's guest tells which disk it booted from, and that it is whole.
async fn boots(scene: &Scene, name: &str, disk: &Disk) -> Result<()> {
    let pods = scene.api::<Pod>();
    let greeting = console::greeting(&pods, name, BOOT, |_| ()).await?;
    ensure!(greeting.nonce == disk.nonce, "{greeting:?}, expected {disk:?}");
    ensure!(greeting.payload_sha256 == disk.payload_sha256, "{greeting:?}, expected {disk:?}");
    ensure!(greeting.disk_size > disk.virtual_size, "the disk was not grown: {greeting:?}, {disk:?}");
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
    until::holds(&pods, name, "switches itself off", SOON, |pod| phase(pod).as_deref() == Some("Succeeded")).await?;
    Ok(())
}

/// The image that runs VMs.
async fn machine() -> Result<String> {
    blocking(|| image::ensure(&Instance::current()?)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("the work panicked")?
}
