use super::*;

#[test]
fn committed_files_are_what_they_are_generated_from() {
    check(&root()).unwrap();
}

#[test]
fn drift_is_named_with_the_command_that_mends_it() {
    let root = root();
    let copy = tempfile::tempdir().unwrap();
    for stage in STAGES {
        // The second stage reads the manifests of the real checkout.
        for Output { path, content } in stage(&root).unwrap() {
            let path = copy.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }
    copy_tree(&root.join("manifests"), &copy.path().join("manifests"));
    check(copy.path()).unwrap();

    let edited = copy.path().join("manifests/crd/pelotech.ot_vmdisksyncs.yaml");
    let text = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, text.replacen("vmds", "vms", 1)).unwrap();
    fs::remove_file(copy.path().join("docs/api.md")).unwrap();
    let message = check(copy.path()).unwrap_err().to_string();
    for expected in ["manifests/crd/pelotech.ot_vmdisksyncs.yaml", "docs/api.md", "cargo xtask gen"] {
        assert!(message.contains(expected), "{message}");
    }
    assert!(!message.contains("vmdiskimages"), "{message}");
}

#[test]
fn printed_crds_read_back_as_they_are() {
    for crd in populator_crd::crds() {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&yaml(&crd).unwrap()).unwrap();
        assert_eq!(read, crd);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
