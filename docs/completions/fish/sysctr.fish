# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sysctr_global_optspecs
    string join \n h/help V/version
end

function __fish_sysctr_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sysctr_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sysctr_using_subcommand
    set -l cmd (__fish_sysctr_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sysctr -n "__fish_sysctr_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_needs_command" -s V -l version -d 'Print version'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "run" -d 'Start a container: become its runtime'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "stop" -d 'Ask a container to end, and wait until it has'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "health" -d 'Wait until a container\'s health command passes'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "exec" -d 'Run a program in a container: the running one, or a temporary one of what the next start runs'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "list" -d 'Show the containers of this host'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "status" -d 'Show which containers run'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "logs" -d 'Show what a container said'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "verify" -d 'Hold every file of containers against their records'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "settle" -d 'Bring a container\'s host files to what is active; a unit calls it at boot'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "blame" -d 'Show when the containers of this boot were started, step by step'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "update" -d 'Bring containers to what their images are now'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "install" -d 'Make a container that the host image does not have'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "pull" -d 'Bring an image that no container has yet'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "images" -d 'Show, check and remove what the store holds'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "uninstall" -d 'Take a container away that was installed on this host'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "rollback" -d 'Switch a container back to what it was before'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "reset" -d 'Switch a container back to what the host image has'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "hold" -d 'Keep a container as it is over updates of the host'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "unhold" -d 'Let a container follow the host again'
complete -c sysctr -n "__fish_sysctr_needs_command" -f -a "gc" -d 'Remove what no deployment of this host and no running container needs'
complete -c sysctr -n "__fish_sysctr_using_subcommand run" -l detach -d 'Return when it runs; its process is in /run/sysctr/NAME/pid'
complete -c sysctr -n "__fish_sysctr_using_subcommand run" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand stop" -l force -d 'Kill it and clear everything that a start left'
complete -c sysctr -n "__fish_sysctr_using_subcommand stop" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand health" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand exec" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand list" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand status" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -s n -l lines -d 'So many of the last lines, or `all`' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -l since -d 'Only since then (systemd.time(7))' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -l until -d 'Only until then' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -s b -l boot -d 'Only of a boot: 0 is this one, -1 the one before' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -s f -l follow -d 'Show the last lines, and go on with what comes'
complete -c sysctr -n "__fish_sysctr_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand verify" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand verify" -l repair -d 'Make generations that differ anew from the store'
complete -c sysctr -n "__fish_sysctr_using_subcommand verify" -l config -d 'Check the values in /etc/sysctr/NAME.toml instead, as a start would'
complete -c sysctr -n "__fish_sysctr_using_subcommand verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand settle" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand blame" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand blame" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l image -d 'Another image [default: where the container says that updates come from]' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l digest -d 'What the image must be' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l set -d 'A value for the image\'s templates; may be given again' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l authfile -d 'Passwords of registries (containers-auth.json(5))' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'As bar on a terminal, else nothing'
bar\t'A line for each image and layer'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l all -d 'All containers that say where their updates come from'
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l check -d 'Only tell what would change'
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l download-only -d 'Only bring what is needed; a later update fetches no layer that came'
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -l no-rollback -d 'Keep it even if it does not become healthy'
complete -c sysctr -n "__fish_sysctr_using_subcommand update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l name -d 'Container\'s name [default: the image\'s]' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l set -d 'A value for the image\'s templates; may be given again' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l authfile -d 'Passwords of registries (containers-auth.json(5))' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'As bar on a terminal, else nothing'
bar\t'A line for each image and layer'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -l no-rollback -d 'Keep it even if it does not become healthy'
complete -c sysctr -n "__fish_sysctr_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l digest -d 'What the image must be' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l authfile -d 'Passwords of registries (containers-auth.json(5))' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l timeout -d 'Seconds that one try to fetch an image may take' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l retries -d 'Further tries after a failure that may pass' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l progress -d 'Form of the progress on stderr' -r -f -a "auto\t'As bar on a terminal, else nothing'
bar\t'A line for each image and layer'
json\t'One JSON object a line on stderr'
none\t'Nothing'"
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -s h -l help -d 'Print help'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -f -a "list" -d 'Show the images of the store'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -f -a "info" -d 'Show one image'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -f -a "remove" -d 'Remove an image that no container needs'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -f -a "prune" -d 'Remove all images that no container needs'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and not __fish_seen_subcommand_from list info remove prune verify" -f -a "verify" -d 'Read everything that the store holds, and tell what is damaged'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from list" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from info" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from info" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from remove" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from prune" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from prune" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from verify" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand images; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand uninstall" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand uninstall" -l purge -d 'Its volumes too'
complete -c sysctr -n "__fish_sysctr_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand rollback" -l to -d 'To this generation [default: the newest before the active one, or what the host image has]' -r
complete -c sysctr -n "__fish_sysctr_using_subcommand rollback" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand reset" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand hold" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand hold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand unhold" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand unhold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysctr -n "__fish_sysctr_using_subcommand gc" -l format -d 'Form of the result on stdout' -r -f -a "text\t'For people'
json\t'For programs; docs/format.md describes it'"
complete -c sysctr -n "__fish_sysctr_using_subcommand gc" -s h -l help -d 'Print help (see more with \'--help\')'
