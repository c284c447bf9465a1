# ssh-keygen through OpenSC's PKCS #11 module: certificates signed without an
# agent, files signed with one; ssh-keygen itself is the judge of both.
module=$OPENSC
"$PIVGO" 9a:EC256 9c:RSA2048 9d:EC384
unset SSH_AUTH_SOCK DISPLAY
printf '#!/bin/sh\necho 123456\n' >askpass
chmod 700 askpass
export SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force
ssh-keygen -D "$module" >public
grep nistp256 public >9a.pub
grep ssh-rsa public >9c.pub
grep nistp384 public >9d.pub
for slot in 9a 9c 9d; do ssh-keygen -i -m PKCS8 -f pub$slot.pem; done | sort >expected
cut -d' ' -f1,2 public | sort | cmp - expected

ssh-keygen -q -t ed25519 -N '' -f user
for key in 9a 9c 9d; do
	ssh-keygen -s $key.pub -D "$module" -I somebody user.pub
	ssh-keygen -L -f user-cert.pub >cert
	grep -q "Signing CA: .*$(ssh-keygen -l -f $key.pub | cut -d' ' -f2)" cert
done

eval "$(ssh-agent -a "$PWD/a")"
trap 'kill $SSH_AGENT_PID' EXIT
ssh-add -s "$module"
for key in 9a 9d; do # 9c wants its PIN each time, which no agent can give
	cp data file
	ssh-keygen -Y sign -n touchmark -f $key.pub file
	printf 'somebody %s\n' "$(cat $key.pub)" >allowed
	ssh-keygen -Y verify -n touchmark -f allowed -I somebody -s file.sig <file
	if echo other | ssh-keygen -Y verify -n touchmark -f allowed -I somebody -s file.sig; then exit 1; fi
	rm file.sig
done
