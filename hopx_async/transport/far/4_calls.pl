# What clients ask for. Every answer is lines; the last one says that it is whole.

sub spec_of {
    my $head = slurp(segment("$root/c/$_[0]", 0)) // return '-';
    my $size = length $head >= 48 ? unpack('V', substr $head, 44, 4) : 0;
    return base64(substr $head, 56, $size - 16);
}

sub report {
    my ($id, $known, $told) = @_;
    my $dir = "$root/c/$id";
    return say_line('u', $id) if !-d $dir;
    settle($id, $dir) if !-e "$dir/exit" && !supervised($dir) && time - (stat $dir)[9] > 30;
    my ($offset, $terminal) = (slurp("$dir/exit") // '') =~ /^(\d+)\n(.*)$/s;
    my @segments = segments($dir);
    my $end = defined $offset ? $offset + length $terminal : end_of($dir, $segments[-1]);
    return if defined $known && $known == $end && !defined $offset;
    my ($pid, undef, undef, $at) = split ' ', slurp("$dir/leader") // '';
    say_line('c', $id, $end, join(',', @segments), $pid // '-', $at // '-', $offset // '-',
             defined $terminal ? base64($terminal) : '-', $told ? spec_of($id) : '-');
}

# Nobody watches it any more: end what is left, and say that its end is lost.
sub settle {
    my ($id, $dir) = @_;
    my $lock = locked($dir) or return;
    return if -e "$dir/exit" || supervised($dir);
    end_all('KILL', $id);
    my ($pid, undef, undef, $at) = split ' ', slurp("$dir/leader") // '';
    my @stat = stat segment($dir, (segments($dir))[-1]);
    my $log = Log->new($dir, 0);
    $log->{last} = 1;
    finish($dir, $log, $LOST, {reason => 'lost', started => $at, ended => $stat[9], duration => defined $at && $stat[9] > $at ? $stat[9] - $at : 0});
}

sub end_all {
    my ($signal, @ids) = @_;
    my $quiet = 0;
    for (1 .. 100) {
        my $found = members(@ids);
        if (!%$found) { return {} if ++$quiet == 2; next }
        $quiet = 0;
        signal_all($signal, $found);
        nap(0.05);
    }
    return members(@ids);
}

sub do_hello {
    my ($keep_count, $keep_seconds) = @args;
    my %ended = map { ($_ => (stat "$root/c/$_/exit")[9]) } grep { -e "$root/c/$_/exit" } ids();
    my @oldest = sort { $ended{$a} <=> $ended{$b} || $a cmp $b } keys %ended;
    while (@oldest > $keep_count || @oldest && time - $ended{$oldest[0]} >= $keep_seconds) {
        forget(shift @oldest);
    }
    say_line('h', nonce(), base64(boot_id()), base64((getpwuid $<)[0] // ''), scalar keys %ended);
}

sub ids { opendir(my $dir, "$root/c") or return (); sort grep { !/^\./ } readdir $dir }

sub forget {
    my $dir = "$root/c/$_[0]";
    my $gone = "$root/c/.gone.$$." . random();
    rename $dir, $gone or return;
    opendir(my $files, $gone) or return;
    unlink map { "$gone/$_" } grep { !/^\.\.?$/ } readdir $files;
    rmdir $gone;
}

sub do_list {
    my ($after, $most) = @args;
    my @ids = grep { $_ gt $after } ids();
    report($_, undef, 1) for splice @ids, 0, $most;
    say_line('n', scalar @ids);
}

sub do_tick {
    my $room = shift @args;
    for my $known (map { split /,/ } shift @args) {
        my ($id, $end) = split /:/, $known;
        report($id, $end eq '-' ? undef : $end, $end eq '-');
    }
    for my $wanted (@args) {
        my ($id, $offset, $limit) = split /:/, $wanted;
        $limit = $room if $limit > $room;
        my $dir = "$root/c/$id";
        my @segments = segments($dir) or next;
        my ($asked, $start) = ($offset, grep { $_ <= $offset } reverse @segments);
        while (defined $start) {
            open(my $file, '<:raw', segment($dir, $start)) or last;
            sysseek($file, $offset - $start, SEEK_SET);
            my $bytes;
            my $count = sysread $file, $bytes, $limit;
            if ($count) { $room -= $count; say_line('d', $id, $asked, $offset, base64($bytes)); last }
            ($start) = grep { $_ > $start } @segments;
            $offset = $start if defined $start;
        }
        last if $room <= 0;
    }
}

sub do_signal {
    my ($id, $signal_id, $name, $cause) = @args;
    my $dir = "$root/c/$id";
    return say_line('u', $id) if !-d $dir;
    if (sysopen(my $file, "$dir/signal.$signal_id", O_WRONLY | O_CREAT | O_EXCL, 0600)) {
        my ($pid, $ticks) = split ' ', slurp("$dir/leader") // '';
        my @stat = stat_of($pid // 0);
        claim_cause($dir, $cause) if $cause ne '-' && !-e "$dir/exit";
        my $there = @stat && $stat[4] == $ticks && $stat[0] ne 'Z' && !-e "$dir/exit";
        syswrite $file, $there && kill($name =~ s/^SIG//r, -$pid) ? '1' : '0';
    }
    say_line('g', $id, slurp("$dir/signal.$signal_id") || '0');
}

sub do_kill {
    my ($number, $wait, $last, @ids) = @args;
    my @known = grep { -d "$root/c/$_" } @ids;
    for my $id (@known) { claim_cause("$root/c/$id", 'killed') if !-e "$root/c/$id/exit" }
    my $until = uptime() + $wait;
    # One that is only just starting is not to be missed.
    nap(0.02) while uptime() < $until + 5 && grep { starting("$root/c/$_") } @known;
    # Asked for again, nobody is asked to end a second time.
    my @fresh = grep { sysopen(my $file, "$root/c/$_/signal.$number", O_WRONLY | O_CREAT | O_EXCL, 0600) } @known;
    my $found = members(@known);
    signal_all('TERM', members(@fresh)) if @fresh && ($wait > 0 || !$last);
    while (%$found && uptime() < $until) { nap(0.05); $found = members(@known) }
    $found = end_all('KILL', @known) if $last || !%$found;
    my $patience = uptime() + 10;
    for my $id (@ids) {
        my $dir = "$root/c/$id";
        if (-d $dir && !$found->{$id}) {
            nap(0.02) while uptime() < $patience && !-e "$dir/exit" && supervised($dir);
            settle($id, $dir) if !-e "$dir/exit" && !supervised($dir);
        }
        report($id, undef, 0);
        say_line('k', $id, map { ($_->[0], base64($_->[2])) } @{$found->{$id} // []});
    }
}

sub do_start {
    while (@args) {
        my ($id, $digest, $timeout, $idle, $drain, $grace, $merge, $keep, $env, $specs, $count) = split ' ', shift @args;
        my $cwd = shift @args;
        my $json = join '', splice @args, 0, $specs;
        my @command = splice @args, 0, $count;
        my %spec = (timeout => $timeout, idle => $idle, drain => $drain, grace => $grace, merge => $merge,
                    keep => $keep, cwd => $cwd, command => \@command, env => environment($env));
        # One that fails takes none of the others along.
        eval { start($id, $digest, $json, \%spec); 1 } or say_line('e', $id, base64($@));
    }
}

sub environment {
    my ($wanted, %env) = ($_[0], %ENV);
    for my $name (grep { /^HOPX_[EU]\d+_/ } keys %env) {
        my $value = delete $env{$name};
        my ($sort, $number, $hex) = $name =~ /^HOPX_([EU])(\d+)_(.*)$/;
        next if $number != $wanted;
        if ($sort eq 'E') { $env{pack 'H*', $hex} = $value } else { delete $env{pack 'H*', $hex} }
    }
    return \%env;
}

sub start {
    my ($id, $digest, $json, $spec) = @_;
    my $dir = "$root/c/$id";
    my $created = claim($id, $dir, $digest, $json);
    launch($id, $dir, $spec) if $created;
    return say_line('x', $id) if !$created && (slurp("$dir/digest") // '') ne $digest;
    # Whoever else started it may not be ready yet.
    for (1 .. 500) { last if !starting($dir); nap(0.02) }
    report($id, undef, 1);
    say_line('b', $id, $created);
}

# Whether a command has been claimed and is about to run: its supervisor is there or soon will be.
sub starting {
    my $dir = shift;
    return 0 if !-d $dir || -e "$dir/leader" || -e "$dir/exit";
    return supervised($dir) || time - (stat $dir)[9] < 5;
}

# The claim is one rename: there is a directory with everything in it, or none.
sub claim {
    my ($id, $dir, $digest, $json) = @_;
    return 0 if -d $dir;
    my $new = "$root/c/.new.$$." . random();
    mkdir $new, 0700 or die "$new: $!\n";
    put_file("$new/digest", $digest);
    put_file(segment($new, 0), base(0, 0, 0) . record($SPEC, $json));
    return 1 if rename $new, $dir;
    my $why = $!;
    unlink "$new/digest", segment($new, 0);
    rmdir $new;
    die "$dir: $why\n" if !-d $dir;
    return 0;
}

sub launch {
    my ($id, $dir, $spec) = @_;
    pipe(my $ready, my $told) or die "pipe: $!\n";
    my $pid = fork // die "fork: $!\n";
    if (!$pid) {
        close $ready;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', '/dev/null';
        open STDERR, '>', '/dev/null';
        eval { supervise($dir, $id, $told, $spec); 1 } or POSIX::_exit(1);
        POSIX::_exit(0);
    }
    close $told;
    sysread $ready, my $word, 1;
}

umask 0077;
$| = 1;
die "no place\n" if !defined $root;
for my $dir ($root, "$root/c") { mkdir $dir, 0700 }
my @stat = lstat $root;
die "$root is not ours\n" if !@stat || $stat[4] != $< || $stat[2] & 077 || !S_ISDIR($stat[2]);
say_line('hopx', 1, $op);
my %ops = (hello => \&do_hello, start => \&do_start, tick => \&do_tick, kill => \&do_kill,
           signal => \&do_signal, list => \&do_list);
($ops{$op} // die "no $op\n")->();
say_line('end');
