# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sysctr_compose_global_optspecs
    string join \n sysroot= repo= base= deployment stateroot= detach-origin verify-base-gpg= verify-base-remote= verify-base-key= ref= subject= parent= gpg-sign= gpg-homedir= sign-from-file= m/manifest= name= set= authfile= tls-verify= signed-by= arch= locked policy= require-signed timeout= retries= parallel= add-launcher= jobs= max-entries= max-bytes= max-window= progress= format= h/help V/version
end

function __fish_sysctr_compose_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sysctr_compose_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sysctr_compose_using_subcommand
    set -l cmd (__fish_sysctr_compose_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l sysroot -d 'Root directory of a system that is not booted' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l repo -d 'OSTree repository, whose commits hold root directories' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l base -d 'Ref or checksum of the commit that the new commit is made from' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l stateroot -d 'Stateroot whose deployment is built on [default: that of what boots]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l verify-base-gpg -d 'Refuse a base that no GnuPG key of this file (`gpg --export`) signed' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l verify-base-remote -d 'Refuse a base that no GnuPG key of this remote of the repository signed' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l verify-base-key -d 'Refuse a base that no ed25519 key of this file signed: public keys in base64, one a line' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l ref -d 'Ref that moves to the new commit; it need not exist [default with --deployment: sysctr/STATEROOT]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l subject -d 'Subject of the new commit' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l parent -d 'Commit before the new one: none, previous (what the ref names now), or a ref or checksum' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l gpg-sign -d 'Sign the new commit with this GnuPG key; may be repeated' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l gpg-homedir -d 'GnuPG\'s directory with the secret key [default: GnuPG\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l sign-from-file -d 'Sign the new commit with the secret ed25519 keys of this file: base64, one a line' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -s m -l manifest -d 'Manifest with the containers of one group (TOML; JSON if its name ends in .json)' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l name -d 'Name of that one container [default: from the image\'s name]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l set -d 'A value for that one container\'s templates' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l authfile -d 'Credentials for the registry of IMAGE (containers-auth.json(5)) [default: the user\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l tls-verify -d 'Whether the registry of IMAGE must have a valid certificate [default: true]' -r -f -a "true\t''
false\t''"
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l signed-by -d 'Key file whose key must have signed IMAGE; may be repeated, and one of them must' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l arch -d 'Architecture to choose from an index, as GOARCH [default: the target\'s]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l policy -d 'Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l parallel -d 'Images that are fetched at once' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l add-launcher -d 'Put this host program (`sysctr`) into the target, with its generator link' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l jobs -d 'Threads that unpack' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l max-entries -d 'Most entries that all layers of an image may have together' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l max-bytes -d 'Most bytes that all layers of an image may unpack to' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l max-window -d 'Largest window of a zstd layer, which is the memory that it needs' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'Bars on a terminal, else nothing'
bar\t'Bars'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l deployment -d 'DIR is a physical ostree sysroot that is not booted: make a new commit from what is deployed there, and deploy it'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l detach-origin -d 'Let the new deployment follow REF even if the one before follows a remote or an image'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l locked -d 'Take all images by the lock\'s digests from the cache: look up no tag, connect to nothing'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -l require-signed -d 'Refuse images of which no signature was verified'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -s V -l version -d 'Print version'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "plan" -d 'Show everything that a compose would add, change and remove; write nothing'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "lint" -d 'Check a manifest and its images without a target\'s help'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "inspect" -d 'Show an image\'s labels, exports and variables'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "list" -d 'Show what is embedded'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "verify" -d 'Check every embedded file against its record'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "remove" -d 'Remove containers with everything that belongs to them'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "fetch" -d 'Bring a manifest\'s images into the cache and write sysctr.lock beside it'
complete -c sysctr-compose -n "__fish_sysctr_compose_needs_command" -a "schema" -d 'Print the manifest\'s JSON schema'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l sysroot -d 'Root directory of a system that is not booted' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l repo -d 'OSTree repository, whose commits hold root directories' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l base -d 'Ref or checksum of the commit that the new commit is made from' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l stateroot -d 'Stateroot whose deployment is built on [default: that of what boots]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l verify-base-gpg -d 'Refuse a base that no GnuPG key of this file (`gpg --export`) signed' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l verify-base-remote -d 'Refuse a base that no GnuPG key of this remote of the repository signed' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l verify-base-key -d 'Refuse a base that no ed25519 key of this file signed: public keys in base64, one a line' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l ref -d 'Ref that moves to the new commit; it need not exist [default with --deployment: sysctr/STATEROOT]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l subject -d 'Subject of the new commit' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l parent -d 'Commit before the new one: none, previous (what the ref names now), or a ref or checksum' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l gpg-sign -d 'Sign the new commit with this GnuPG key; may be repeated' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l gpg-homedir -d 'GnuPG\'s directory with the secret key [default: GnuPG\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l sign-from-file -d 'Sign the new commit with the secret ed25519 keys of this file: base64, one a line' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -s m -l manifest -d 'Manifest with the containers of one group (TOML; JSON if its name ends in .json)' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l name -d 'Name of that one container [default: from the image\'s name]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l set -d 'A value for that one container\'s templates' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l authfile -d 'Credentials for the registry of IMAGE (containers-auth.json(5)) [default: the user\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l tls-verify -d 'Whether the registry of IMAGE must have a valid certificate [default: true]' -r -f -a "true\t''
false\t''"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l signed-by -d 'Key file whose key must have signed IMAGE; may be repeated, and one of them must' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l arch -d 'Architecture to choose from an index, as GOARCH [default: the target\'s]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l policy -d 'Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l parallel -d 'Images that are fetched at once' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l add-launcher -d 'Put this host program (`sysctr`) into the target, with its generator link' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l jobs -d 'Threads that unpack' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l max-entries -d 'Most entries that all layers of an image may have together' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l max-bytes -d 'Most bytes that all layers of an image may unpack to' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l max-window -d 'Largest window of a zstd layer, which is the memory that it needs' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'Bars on a terminal, else nothing'
bar\t'Bars'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l deployment -d 'DIR is a physical ostree sysroot that is not booted: make a new commit from what is deployed there, and deploy it'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l detach-origin -d 'Let the new deployment follow REF even if the one before follows a remote or an image'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l locked -d 'Take all images by the lock\'s digests from the cache: look up no tag, connect to nothing'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -l require-signed -d 'Refuse images of which no signature was verified'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -s m -l manifest -d 'Manifest with the containers of one group (TOML; JSON if its name ends in .json)' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l name -d 'Name of that one container [default: from the image\'s name]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l set -d 'A value for that one container\'s templates' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l authfile -d 'Credentials for the registry of IMAGE (containers-auth.json(5)) [default: the user\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l tls-verify -d 'Whether the registry of IMAGE must have a valid certificate [default: true]' -r -f -a "true\t''
false\t''"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l signed-by -d 'Key file whose key must have signed IMAGE; may be repeated, and one of them must' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l arch -d 'Architecture to choose from an index, as GOARCH [default: the target\'s]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l policy -d 'Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l parallel -d 'Images that are fetched at once' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l jobs -d 'Threads that unpack' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l max-entries -d 'Most entries that all layers of an image may have together' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l max-bytes -d 'Most bytes that all layers of an image may unpack to' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l max-window -d 'Largest window of a zstd layer, which is the memory that it needs' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l locked -d 'Take all images by the lock\'s digests from the cache: look up no tag, connect to nothing'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -l require-signed -d 'Refuse images of which no signature was verified'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand lint" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l authfile -d 'Credentials for the registry of IMAGE (containers-auth.json(5)) [default: the user\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l tls-verify -d 'Whether the registry of IMAGE must have a valid certificate [default: true]' -r -f -a "true\t''
false\t''"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l signed-by -d 'Key file whose key must have signed IMAGE; may be repeated, and one of them must' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -s m -l manifest -d 'Manifest, one of whose containers\' image is shown' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l name -d 'That container [default: the only one]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l arch -d 'Architecture to choose, as GOARCH [default: the only one, of what is read in place]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l policy -d 'Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l parallel -d 'Images that are fetched at once' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l jobs -d 'Threads that unpack' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l max-entries -d 'Most entries that all layers of an image may have together' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l max-bytes -d 'Most bytes that all layers of an image may unpack to' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l max-window -d 'Largest window of a zstd layer, which is the memory that it needs' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l locked -d 'Take all images by the lock\'s digests from the cache: look up no tag, connect to nothing'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -l require-signed -d 'Refuse images of which no signature was verified'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand inspect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand list" -l sysroot -d 'Root directory of a system that is not booted' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand list" -l repo -d 'OSTree repository, whose commits hold root directories' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand list" -l ref -d 'Ref or checksum of the commit' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand list" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand verify" -l sysroot -d 'Root directory of a system that is not booted' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand verify" -l repo -d 'OSTree repository, whose commits hold root directories' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand verify" -l ref -d 'Ref or checksum of the commit' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand verify" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l group -d 'All containers of this group' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l sysroot -d 'Root directory of a system that is not booted' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l repo -d 'OSTree repository, whose commits hold root directories' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l ref -d 'Ref that moves to the new commit; it need not exist [default with --deployment: sysctr/STATEROOT]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l subject -d 'Subject of the new commit' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l parent -d 'Commit before the new one: none, previous (what the ref names now), or a ref or checksum' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l gpg-sign -d 'Sign the new commit with this GnuPG key; may be repeated' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l gpg-homedir -d 'GnuPG\'s directory with the secret key [default: GnuPG\'s own]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l sign-from-file -d 'Sign the new commit with the secret ed25519 keys of this file: base64, one a line' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -l launcher -d 'Also the launcher that a compose added'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -s m -l manifest -d 'Manifest with the containers of one group (TOML; JSON if its name ends in .json)' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l arch -d 'Architectures to lock, as GOARCH, beyond those that the lock has' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l update -d 'Look up the tags again and move the lock: of these containers, without a name of all' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l max-cache -d 'Remove from the cache what was not used for the longest time, until it has at most this size' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l policy -d 'Policy for what skopeo fetches [default: policy.json beside the manifest, then /etc/containers/policy.json]' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l parallel -d 'Images that are fetched at once' -r
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'Bars on a terminal, else nothing'
bar\t'Bars'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l locked -d 'Bring only what the lock has by its digests; a lock that would have to change is an error'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l prune -d 'Remove from the cache what no lock names that was fetched into it'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -l require-signed -d 'Refuse images of which no signature was verified'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr-compose -n "__fish_sysctr_compose_using_subcommand schema" -s h -l help -d 'Print help'
