package main;

# Processes.

sub stat_of {
    my $text = slurp("/proc/$_[0]/stat") // return ();
    my ($name, $rest) = $text =~ /^\d+ \((.*)\) (.*)$/s or return ();
    my @fields = split ' ', $rest;
    return ($fields[0], $fields[1], $fields[2], $fields[3], $fields[19], $name);
}

sub alive {
    my ($pid, $ticks, $boot) = @_;
    my @stat = stat_of($pid);
    return @stat && $stat[0] ne 'Z' && $stat[4] == $ticks && $boot eq boot_id();
}

sub supervised { my @told = split ' ', slurp("$_[0]/sup") // ''; @told == 3 && alive(@told) }

sub locked { open(my $lock, '>>', "$_[0]/lock") or return undef; flock($lock, LOCK_EX) ? $lock : undef }

# The living of commands: what carries a command's mark or scope, and what descends from its leader.
sub members {
    my (%marks, %scopes, %found, %parents, %kind);
    for my $id (@_) {
        my ($pid, $ticks, $mark) = split ' ', slurp("$root/c/$id/leader") // $main::mine{$id} // next;
        $marks{$mark} = $id;
        $scopes{nonce() . "/$id"} = $id;
        my @stat = stat_of($pid);
        $kind{$pid} = $id if @stat && $stat[4] == $ticks;
    }
    opendir(my $proc, '/proc') or die "/proc: $!\n";
    my @pids = sort { $a <=> $b } grep { /^\d+$/ } readdir $proc;
    my %stats;
    for my $pid (@pids) {
        my @stat = stat_of($pid);
        next if !@stat || $stat[0] eq 'Z' || $stat[0] eq 'X';
        $stats{$pid} = [$stat[4], $stat[5]];
        $parents{$pid} = $stat[1];
        if (!$kind{$pid}) {
            my ($mark) = (slurp("/proc/$pid/limits") // '') =~ /^Max file locks\s+(\d+)/m;
            $kind{$pid} = $marks{$mark} if defined $mark && $marks{$mark};
        }
        if (!$kind{$pid}) {
            my ($scope) = (slurp("/proc/$pid/environ") // '') =~ /(?:^|\0)HOPX_SCOPE=([^\0]*)/;
            for my $one (split /:/, $scope // '') { $kind{$pid} = $scopes{$one} if $scopes{$one} }
        }
    }
    my $more = 1;
    while ($more) {
        $more = 0;
        for my $pid (keys %stats) {
            my $id = $kind{$parents{$pid}} // '';
            if ($id && !$kind{$pid}) { $kind{$pid} = $id; $more = 1 }
        }
    }
    for my $pid (grep { $kind{$_} } keys %stats) {
        push @{$found{$kind{$pid}}}, [$pid, @{$stats{$pid}}];
    }
    return \%found;
}

sub signal_all {
    my ($signal, $found) = @_;
    for my $one (map { @$_ } values %$found) {
        my @stat = stat_of($one->[0]);
        kill $signal, $one->[0] if @stat && $stat[4] == $one->[1];
    }
}

sub nonce {
    our $nonce;
    return $nonce if defined $nonce;
    if (sysopen(my $file, "$root/nonce", O_WRONLY | O_CREAT | O_EXCL, 0600)) {
        syswrite $file, 'mk' . random();
    }
    for (1 .. 100) { last if length($nonce = slurp("$root/nonce") // ''); nap(0.01) }
    return $nonce;
}

sub random { open(my $file, '<:raw', '/dev/urandom') or die $!; sysread $file, my $bytes, 7; unpack('H*', $bytes) }
