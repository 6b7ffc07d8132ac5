import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Scanner;
import java.util.concurrent.Callable;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import org.apache.airavata.api.Airavata;
import org.apache.airavata.model.security.AuthzToken;
import org.apache.airavata.model.workspace.Gateway;
import org.apache.airavata.model.workspace.GatewayApprovalStatus;
import org.apache.airavata.model.workspace.Project;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.transport.TSocket;

/** Calls an API server with Airavata's own client of 0.16. Arguments: port on this machine, name in the server's certificate, PEM of
 *  its authority; the token comes on standard input. Prints a line for each call: its name, a tab, the answer. */
class Client {
    static final String GATEWAY = "java-client";

    public static void main(String[] arguments) throws Exception {
        AuthzToken token = new AuthzToken(new Scanner(System.in).nextLine());
        SSLSocket socket = connect(Integer.parseInt(arguments[0]), arguments[1], arguments[2]);
        Airavata.Client api = new Airavata.Client(new TBinaryProtocol(new TSocket(socket)));

        say("getAPIVersion", () -> api.getAPIVersion(token));
        if (api.isGatewayExist(token, GATEWAY)) api.deleteGateway(token, GATEWAY);
        Gateway gateway = new Gateway(GATEWAY, GatewayApprovalStatus.APPROVED);
        gateway.setGatewayName("Made in Java");
        say("addGateway", () -> api.addGateway(token, gateway));
        gateway.setGatewayName("Changed in Java");
        api.updateGateway(token, GATEWAY, gateway);
        say("getGateway", () -> api.getGateway(token, GATEWAY).getGatewayName());
        Project project = new Project("DO_NOT_SET_AT_CLIENTS", "ann", GATEWAY, "Faults");
        String made = api.createProject(token, GATEWAY, project);
        say("getProject", () -> api.getProject(token, made).getName());
        say("getUserProjects", () -> api.getUserProjects(token, GATEWAY, "ann", 10, 0).size());
        say("deleteProject", () -> api.deleteProject(token, made));
        say("getProject of none", () -> api.getProject(token, made));
        say("deleteGateway", () -> api.deleteGateway(token, GATEWAY));
        say("isGatewayExist", () -> api.isGatewayExist(token, GATEWAY));
        say("getAllGateways with a wrong token", () -> api.getAllGateways(new AuthzToken("not-the-token")));
    }

    static void say(String call, Callable<?> answer) {
        try {
            System.out.println(call + "\t" + answer.call());
        } catch (Exception error) {
            System.out.println(call + "\t" + error.getClass().getSimpleName());
        }
    }

    /** TLS, with the server's certificate and its name verified. */
    static SSLSocket connect(int port, String name, String authority) throws Exception {
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (FileInputStream pem = new FileInputStream(authority)) {
            trusted.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance("PKIX");
        managers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        Socket plain = new Socket();
        plain.connect(new InetSocketAddress("127.0.0.1", port), 10_000);
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(plain, name, port, true);
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        socket.setSoTimeout(30_000);
        socket.startHandshake();
        return socket;
    }
}
